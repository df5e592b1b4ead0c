"""Ordinary requests over HTTP/2: the same exchanges as over HTTP/1.1, answered by the same application."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from time import monotonic
from typing import Protocol

from modelyard.oip.tensor import Raw
from modelyard.serving.errors import Problem, too_large
from modelyard.serving.http.messages import Application, Exchange, Response
from modelyard.serving.http2.headers import Head, field, fields_of, known_field, status_field
from modelyard.serving.http2.stream import Stream

MOST_TARGET_BYTES = 8192


class Host(Protocol):
    """What requests need of the server."""

    application: Application
    date: bytes
    max_body_bytes: int

    def refuse(self, problem: Problem, exchange: Exchange) -> Response:
        """The response for a request that the application does not see."""


class Request:
    """Collects a body, then asks the application."""

    is_full = False

    def __init__(self, host: Host, loop: AbstractEventLoop, head: Head, stream: Stream) -> None:
        self._host = host
        self._stream = stream
        stream.lingers = True
        self._parts: list[Raw] = []
        self.received = 0
        self.waits_since = loop.time()
        exchange = self._exchange = Exchange(self)
        exchange.method = head.method
        exchange.target = head.path
        exchange.headers = dict(head.headers)

    def begin(self) -> None:
        """Refuse at once what can be refused by its head."""
        if len(self._exchange.target) > MOST_TARGET_BYTES:
            self._refuse(Problem(414, "invalid", f"the URL is longer than {MOST_TARGET_BYTES} bytes"))
        elif self._stream.announced > self._host.max_body_bytes:
            self._refuse(too_large(self._host.max_body_bytes))
        elif self._exchange.headers.get(b"expect", b"").lower() == b"100-continue":
            self._stream.begin(status_field(100))

    def data(self, payload: Raw) -> None:
        """A piece of the body."""
        if self._exchange.answered:
            return
        self.received += len(payload)
        if self.received > self._host.max_body_bytes:
            self._refuse(too_large(self._host.max_body_bytes))
        else:
            self._parts.append(payload)

    def complete(self) -> None:
        """The body is whole."""
        self.waits_since = 0.0
        exchange = self._exchange
        if exchange.answered:
            return
        exchange.body = b"".join(self._parts)
        self._parts = []
        exchange.received_at = monotonic()
        self._host.application(exchange)

    def late(self) -> None:
        """The rest of the body did not come in time."""
        self._refuse(Problem(408, "timed_out", "the request did not arrive in time"))

    def drained(self) -> None:
        """The body is read without regard to the answer."""

    def leaving(self) -> None:
        """Every request has an end of its own."""

    def gone(self) -> None:
        """The client wants no answer any more."""
        self._parts = []
        self._exchange.gone()

    # What the exchange calls.

    def send(self, exchange: Exchange, response: Response) -> None:
        """Write the answer."""
        length = sum(map(len, response.parts))
        block = self._block(response) + field(b"content-length", b"%d" % length)
        if exchange.method == "HEAD" or not length:
            self._stream.answer_head(block)
        else:
            self._stream.answer(block, response.parts, b"")

    def start(self, exchange: Exchange, response: Response) -> None:
        """Write the head of an answer whose body comes in parts."""
        self._stream.begin(self._block(response))
        for part in response.parts:
            self.send_part(exchange, part)

    def send_part(self, exchange: Exchange, part: Raw) -> int:
        """Write a part; returns how many bytes the client has not taken yet."""
        if exchange.method != "HEAD":
            self._stream.write((part,))
        return self._stream.unsent_bytes

    def end(self, exchange: Exchange) -> None:
        """The body is complete."""
        del exchange
        self._stream.finish()

    def _block(self, response: Response) -> bytes:
        return b"".join(
            (
                status_field(response.status),
                known_field(b"content-type", response.content_type),
                fields_of(response.headers),
                known_field(b"date", self._host.date),
            )
        )

    def _refuse(self, problem: Problem) -> None:
        exchange = self._exchange
        self.waits_since = 0.0
        self._parts = []
        exchange.received_at = monotonic()
        exchange.answer(self._host.refuse(problem, exchange))
