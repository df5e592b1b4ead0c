"""One connection from the gateway: its requests wait here, one after another, and are sent back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from modelyard.gateway.activator.answers import answer
from modelyard.gateway.activator.holding import Bounds, Guest, Hall, Outcome

SERVICE = b"x-modelyard-wake"
"""Header by which the gateway says whom a request is for; it comes from nobody else."""
REQUESTS = b"x-modelyard-hold-requests"
SECONDS = b"x-modelyard-hold-seconds"

_SETTLE_SECONDS = 0.02
"""Between the news that a service is awake and the answer, for threads of the gateway that are behind."""
_STREAM_SECONDS = 1.0
"""So long a request that is still being sent may take to end, once its service is awake."""


_UPLOAD_SECONDS = 5.0
"""So long one that is too large."""
_LINGER_SECONDS = 10.0


class Visit(asyncio.Protocol):
    """Reads requests and keeps nothing of them: the gateway has their bodies."""

    def __init__(self, hall: Hall, awake: Callable[[str], bool]) -> None:
        self._hall, self._awake = hall, awake
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._headers: dict[bytes, bytes] = {}
        self._guest: Guest | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._refused: Outcome | None = None
        self._is_whole = self._is_open = False

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The gateway is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on; what is not HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left, or the gateway did: the place is free."""
        self._forget()

    # What the parser tells.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers = {}
        self._is_whole, self._is_open, self._refused = False, True, None

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """It is known whom the request is for: let it wait."""
        service = self._headers.get(SERVICE, b"").decode()
        bounds = Bounds(int(self._headers.get(REQUESTS, b"0")), float(self._headers.get(SECONDS, b"0")))
        guest = self._guest = Guest(service, bounds, self._told)
        said = int(self._headers.get(b"content-length", b"0"))
        refused = self._hall.enter(guest)
        if refused is None and said > bounds.body_bytes:
            refused = Outcome.TOO_LARGE
        if refused is not None:
            return self._end(refused)
        self._timers.append(self._loop.call_later(bounds.seconds, self._end, Outcome.LATE))
        if self._awake(service):
            self._told(Outcome.AWAKE)
        return None

    def on_body(self, body: bytes) -> None:
        """Some of the request, which only counts."""
        if self._guest is not None and (refused := self._hall.grow(self._guest, len(body))):
            self._end(refused)

    def on_message_complete(self) -> None:
        """The request is whole: only now can the gateway send it to somebody else."""
        self._is_whole = True
        if self._refused is not None:
            self._answer(self._refused)

    def _told(self, outcome: Outcome) -> None:
        self._timers.append(self._loop.call_later(_SETTLE_SECONDS, self._go, outcome, self._loop.time()))

    def _go(self, outcome: Outcome, since: float) -> None:
        """Send the request back, once it is whole; one that goes on and on has to come again."""
        if self._is_whole:
            self._end(outcome)
        elif self._loop.time() - since > _STREAM_SECONDS:
            self._end(Outcome.STREAMING)
        else:
            self._timers.append(self._loop.call_later(_SETTLE_SECONDS, self._go, outcome, since))

    def _end(self, outcome: Outcome) -> None:
        """Give the place back and answer: once the request is whole, as clients rarely listen before."""
        self._forget()
        if self._is_whole:
            return self._answer(outcome)
        self._refused = outcome
        patience = _UPLOAD_SECONDS if outcome is Outcome.TOO_LARGE else _STREAM_SECONDS
        self._timers.append(self._loop.call_later(patience, self._answer, outcome))
        return None

    def _answer(self, outcome: Outcome) -> None:
        self._forget()
        if not self._is_open:
            return
        self._is_open = False
        grpc = self._headers.get(b"content-type", b"").startswith(b"application/grpc")
        # After an answer to half a request nothing on this connection would make sense.
        self._transport.write(answer(outcome, grpc=grpc, close=not self._is_whole))
        if not self._is_whole:
            # The gateway closes it: what it still sends must not meet a closed door and count as lost.
            self._loop.call_later(_LINGER_SECONDS, self._transport.abort)

    def _forget(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._guest is not None:
            self._hall.leave(self._guest)
            self._guest = None
