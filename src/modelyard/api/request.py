"""What every route asks for: the platform, who is calling, which page, which generation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from modelyard.control import login
from modelyard.control.platform import Platform
from modelyard.domain import quantity
from modelyard.domain.access import Actor
from modelyard.domain.errors import FieldError, Forbidden, Invalid

COOKIE = "modelyard_session"
_NOBODY = Actor(name="")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_ETAG = re.compile(r'(?:W/)?"?([0-9]{1,18})"?')


def platform_of(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


def secret_of(request: Request) -> tuple[str, bool]:
    """The secret that came with a request, and whether a browser sent it by itself."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip(), False
    key = request.headers.get("x-api-key", "")
    if key:
        return key, False
    return request.cookies.get(COOKIE, ""), True


async def actor_of(request: Request) -> Actor:
    secret, cookie = secret_of(request)
    if not secret:
        return _NOBODY
    if cookie and request.method not in _SAFE:
        require_same_origin(request)
    return await login.authenticate(platform_of(request), secret)


def require_same_origin(request: Request) -> None:
    """A browser's session changes things only for pages of this very site; raises Forbidden."""
    origin = request.headers.get("origin", "")
    if origin.partition("://")[2] != request.headers.get("host", ""):
        raise Forbidden(
            "a session may change things only from the console's own pages; use a token elsewhere"
        )


def _expected(if_match: Annotated[str | None, Header()] = None) -> int | None:
    if if_match is None or if_match == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if not match:
        message = 'must be a generation in quotes, such as "3"'
        raise Invalid(f"If-Match: {message}", errors=[FieldError("If-Match", message)])
    return int(match.group(1))


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list."""

    limit: Annotated[int, Query(ge=1, le=1000)] = 100
    after: Annotated[str, Query(max_length=500)] = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A time span, in seconds since the epoch."""

    since: float
    until: float
    step: float | None


def _interval(
    request: Request,
    since: Annotated[str, Query(max_length=40, description="A time, or how long ago, such as `1h`")] = "1h",
    until: Annotated[str, Query(max_length=40, description="A time, or how long ago; else now")] = "",
    step: Annotated[str, Query(max_length=20, description="Length of a step, such as `1m`")] = "",
) -> Interval:
    now = platform_of(request).clock()
    return Interval(
        since=quantity.parse_moment(since, "since", now=now),
        until=quantity.parse_moment(until, "until", now=now) if until else now,
        step=quantity.parse_seconds(step, "step") if step else None,
    )


PlatformDep = Annotated[Platform, Depends(platform_of)]
ActorDep = Annotated[Actor, Depends(actor_of)]
ExpectedDep = Annotated[int | None, Depends(_expected)]
PagingDep = Annotated[Paging, Depends()]
IntervalDep = Annotated[Interval, Depends(_interval)]
