"""`Idempotency-Key`: a POST that is sent again is answered again, not carried out again."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any
from weakref import WeakValueDictionary

from fastapi import Request, Response

from modelyard.api.documents import JsonRoute, as_json
from modelyard.api.request import actor_of, platform_of
from modelyard.control import system
from modelyard.domain.errors import Conflict, FieldError, Invalid
from modelyard.store.idempotency import Remembered

HEADER = "idempotency-key"
_LONGEST = 200
_SECRET = ("/token", "/tokens", "/login", "/login-links")
"""Ends of paths whose answers carry a secret: such an answer is never kept."""


class Turns:
    """Lets one request at a time use a caller's key, so that the second finds the answer of the first."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def of(self, actor: str, key: str) -> AsyncIterator[None]:
        """Wait for the turn and have it."""
        lock = self._locks.setdefault((actor, key), asyncio.Lock())
        async with lock:
            yield


class Idempotent(JsonRoute):
    """A route whose POST honours the header; the answer is kept per caller and key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own answer."""
        answer = super().get_route_handler()

        async def once(request: Request) -> Response:
            key = request.headers.get(HEADER, "")
            if request.method != "POST" or not key or request.url.path.endswith(_SECRET):
                return await answer(request)
            return await _once(as_json(request), key, answer)

        return once


async def _once(request: Request, key: str, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    if len(key) > _LONGEST:
        message = f"must be at most {_LONGEST} characters"
        raise Invalid(f"Idempotency-Key: {message}", errors=[FieldError("Idempotency-Key", message)])
    platform, actor = platform_of(request), await actor_of(request)
    if not actor.name:
        return await answer(request)
    place = f"{request.method} {request.url.path}?{request.url.query}\n"
    fingerprint = hashlib.sha256(place.encode() + await request.body())
    turns: Turns = request.app.state.turns
    async with turns.of(actor.name, key):
        known = await system.answered(platform, actor, key, fingerprint=fingerprint.hexdigest())
        if known is not None:
            return Response(known.body, known.status, media_type="application/json")
        response = await answer(request)
        remembered = Remembered(fingerprint.hexdigest(), response.status_code, bytes(response.body))
        with contextlib.suppress(Conflict):  # another control plane was asked at the same moment
            await system.remember(platform, actor, key, remembered)
        return response
