"""`Idempotency-Key`: a POST that is sent again is answered again, not carried out again."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from modelyard.api.request import actor_of, platform_of
from modelyard.control import system
from modelyard.domain.errors import FieldError, Invalid
from modelyard.store.idempotency import Remembered

HEADER = "idempotency-key"
_LONGEST = 200
_SECRET = "/token"  # noqa: S105 - the end of a path
"""An answer that carries a secret is never kept."""


class Idempotent(APIRoute):
    """A route whose POST honours the header; the answer is kept per caller and key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own answer."""
        answer = super().get_route_handler()

        async def once(request: Request) -> Response:
            key = request.headers.get(HEADER, "")
            if request.method != "POST" or not key or request.url.path.endswith(_SECRET):
                return await answer(request)
            return await _once(request, key, answer)

        return once


async def _once(request: Request, key: str, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    if len(key) > _LONGEST:
        message = f"must be at most {_LONGEST} characters"
        raise Invalid(f"Idempotency-Key: {message}", errors=[FieldError("Idempotency-Key", message)])
    platform, actor = platform_of(request), await actor_of(request)
    if not actor.name:
        return await answer(request)
    content = await request.body()
    fingerprint = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + content).hexdigest()
    known = await system.answered(platform, actor, key, fingerprint=fingerprint)
    if known is not None:
        return Response(known.body, known.status, media_type="application/json")
    response = await answer(request)
    remembered = Remembered(fingerprint, response.status_code, bytes(response.body))
    await system.remember(platform, actor, key, remembered)
    return response
