"""What happens to every request of the API: an id, security headers, a record in the log and the metrics."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.api.problems import problem

log = logging.getLogger(__name__)

_odd_address = problem(
    400,
    "invalid",
    "Invalid request",
    "the address holds the character U+0000, which no name has; leave it out",
)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

Observe = Callable[[str, str, int, float], None]
"""Called with method, route template, status and seconds."""


class Envelope:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, new_id: Callable[[], str], observe: Observe) -> None:
        self._app = app
        self._new_id = new_id
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = self._request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", request_id.encode())]
            await send(message)

        odd = "\0" in scope["path"] or b"%00" in scope["query_string"]
        app = _odd_address if odd else self._app
        try:
            await app(scope, receive, sending)
        finally:
            route = scope.get("route")
            template = getattr(route, "path", "unmatched")
            seconds = time.perf_counter() - started
            self._observe(scope["method"], template, status, seconds)
            log.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": scope["method"],
                    "route": template,
                    "status": status,
                },
            )

    def _request_id(self, scope: Scope) -> str:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        return given.decode() if _ID.fullmatch(given) else self._new_id()
