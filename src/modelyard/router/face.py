"""The face that a router shows to the control plane: HTTP with a token; and two paths for a kubelet."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelyard.domain.errors import (
    BackendError,
    Invalid,
    ModelyardError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from modelyard.gateway.remote import wire
from modelyard.gateway.remote.wire import Refusal
from modelyard.router.station import Outdated, Station

_T = TypeVar("_T")
_N = TypeVar("_N", int, float)

MOST_BYTES = 256 * 1024 * 1024
"""Of one publication; ten thousand services take a tenth of it."""
_LONGEST_POLL_SECONDS = 30.0
_STATUSES: tuple[tuple[type[ModelyardError], int], ...] = (
    (Unauthenticated, 401),
    (Outdated, 409),
    (TooLarge, 413),
    (Invalid, 422),
    (BackendError, 502),
    (Unavailable, 503),
)

Answering = Callable[[Request], Awaitable[Response]]


def create(station: Station, token: str) -> Starlette:
    """What the control plane may ask, which shows `token` with everything."""
    if not token:
        raise Invalid("--token-file: the token is empty; put the control plane's there")
    faces = (
        (wire.ROUTES, "PUT", _publish(station)),
        (wire.ROUTED, "GET", _told(station.gateway.routed, wire.NAMES)),
        (wire.STATISTICS, "GET", _told(station.gateway.statistics, wire.READING)),
        (wire.COPIES, "GET", _told(station.gateway.copies, wire.COPIES_OF)),
        (wire.PORTS, "GET", _told(station.gateway.busy_ports, wire.NUMBERS)),
        (wire.NEWS, "GET", _news(station)),
    )
    routes = [Route(path, _guarded(answer, token), methods=[method]) for path, method, answer in faces]
    return Starlette(routes=routes, exception_handlers={ModelyardError: _refused})


def health(station: Station, trouble: Callable[[], str]) -> Starlette:
    """What a kubelet asks; `trouble` says why the control plane cannot talk to this router."""
    return Starlette(routes=[Route(wire.LIVE, _live), Route(wire.READY, _ready(station, trouble))])


async def _live(_: Request) -> Response:
    return Response(b'{"live":true}', media_type="application/json")


def _ready(station: Station, trouble: Callable[[], str]) -> Answering:
    async def ready(_: Request) -> Response:
        said = await station.news(after=0, seconds=0)
        why = "it was told to end" if said.leaving else said.failure or trouble()
        if station.is_ready and not why:
            return _json(wire.NEWS_OF, said)
        return _json(
            wire.REFUSAL, Refusal(error=why or "it has no routes yet", code="unavailable"), status=503
        )

    return ready


def _publish(station: Station) -> Answering:
    async def publish(request: Request) -> Response:
        publication = wire.publication(await _body(request))
        await station.publish(publication)
        return _json(wire.NEWS_OF, await station.news(after=2**62, seconds=0))

    return publish


def _news(station: Station) -> Answering:
    async def news(request: Request) -> Response:
        after = _number(request, "after", int, 0)
        seconds = _number(request, "seconds", float, 0.0)
        return _json(
            wire.NEWS_OF,
            await station.news(after=after, seconds=min(max(seconds, 0.0), _LONGEST_POLL_SECONDS)),
        )

    return news


def _told(ask: Callable[[], Awaitable[_T]], adapter: TypeAdapter[_T]) -> Answering:
    async def told(_: Request) -> Response:
        return _json(adapter, await ask())

    return told


def _guarded(answer: Answering, token: str) -> Answering:
    async def guarded(request: Request) -> Response:
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            raise Unauthenticated("show the router's token: Authorization: Bearer …")
        return await answer(request)

    return guarded


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, ModelyardError):
        raise error
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    version = error.version if isinstance(error, Outdated) else 0
    return _json(wire.REFUSAL, Refusal(error=error.message, code=error.code, version=version), status=status)


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise TooLarge(f"routes may have {MOST_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


def _number(request: Request, name: str, kind: type[_N], default: _N) -> _N:
    text = request.query_params.get(name)
    try:
        return kind(text) if text is not None else default
    except ValueError:
        raise Invalid(f"{name} must be a number, got {text!r:.60}") from None


def _json(adapter: TypeAdapter[_T], value: _T, *, status: int = 200) -> Response:
    return Response(adapter.dump_json(value), status_code=status, media_type="application/json")
