"""Requests, responses, and the exchange that ties one to the other."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import orjson

from modelyard.oip.tensor import Raw
from modelyard.serving.errors import Problem

JSON = b"application/json"
STATUS_LINES: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Response:
    """What goes back to a client."""

    __slots__ = ("content_type", "headers", "parts", "problem", "status")

    def __init__(
        self, status: int, parts: tuple[Raw, ...] = (), *, content_type: bytes = JSON, headers: bytes = b""
    ) -> None:
        self.status = status
        self.parts = parts
        self.content_type = content_type
        self.headers = headers
        """More header lines, each ended by CR LF."""
        self.problem: Problem | None = None
        """What the body tells of, for protocols that have a form of their own for errors."""


class Waiting(Protocol):
    """Something that is answered in its turn: an exchange, or what took the quick way."""

    def gone(self) -> None:
        """The client went away before the answer."""


class Sink(Protocol):
    """Where an exchange's response goes: its connection."""

    def send(self, exchange: Exchange, response: Response) -> None:
        """Write the response, in the order of requests."""

    def start(self, exchange: Exchange, response: Response) -> None:
        """Write the head of a response whose body comes in parts, and the parts that it has already."""

    def send_part(self, exchange: Exchange, part: Raw) -> int:
        """Write a part of the body; returns how many bytes the client has not taken yet."""

    def end(self, exchange: Exchange) -> None:
        """The body is complete."""


class WholeAnswers:
    """The part of a sink that is for answers in parts, where all answers are whole."""

    def start(self, exchange: Exchange, response: Response) -> None:
        """Only a fault of ours gets here: whoever made the exchange asked for no parts."""
        raise AssertionError(f"an answer in parts to {exchange.identity}, where none can be sent")

    def send_part(self, exchange: Exchange, part: Raw) -> int:
        """See `start`."""
        raise AssertionError(f"a part of {len(part)} bytes for {exchange.identity}, where none can be sent")

    def end(self, exchange: Exchange) -> None:
        """See `start`."""
        raise AssertionError(f"the end of an answer in parts to {exchange.identity}, where none can be sent")


class Nowhere(WholeAnswers):
    """The sink of a head that is kept as an example."""

    def send(self, exchange: Exchange, response: Response) -> None:
        """Nobody asked."""


class Exchange:
    """One request and the way back to whoever sent it."""

    __slots__ = (
        "answered",
        "body",
        "headers",
        "identity",
        "keep_alive",
        "method",
        "old",
        "on_gone",
        "received_at",
        "refusal",
        "sink",
        "streaming",
        "target",
    )

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.method = ""
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        """Names in lower case; of a repeated header the last one."""
        self.body: bytes = b""
        self.keep_alive = True
        self.old = False
        """HTTP/1.0, whose connections close unless both sides say otherwise."""
        self.received_at = 0.0
        self.identity = ""
        self.refusal: Response | None = None
        """An answer decided while reading; the application never sees such a request."""
        self.on_gone: Callable[[], None] | None = None
        """Called when the client goes away before the answer."""
        self.answered = False
        self.streaming = False
        """The head is written, and the body is not at its end."""

    def answer(self, response: Response) -> None:
        """Send the response; a second one, or one to a client that has gone, is dropped."""
        if not self.answered:
            self.answered = True
            self.on_gone = None
            self.body = b""
            self.sink.send(self, response)

    def gone(self) -> None:
        """The client went away: nothing more is sent, and whoever works on it is told."""
        self.answered = True
        self.streaming = False
        if self.on_gone is not None:
            self.on_gone()

    def start(self, response: Response) -> None:
        """Begin an answer whose body comes in parts; like `answer` it counts once.

        `on_gone` is still called when the client goes away before the end.
        """
        if not self.answered:
            self.answered = self.streaming = True
            self.body = b""
            self.sink.start(self, response)

    def send_part(self, part: Raw) -> int:
        """Send a part of the body; returns how many bytes wait because the client reads slowly."""
        return self.sink.send_part(self, part) if self.streaming and part else 0

    def end(self) -> None:
        """Finish an answer that was started."""
        if self.streaming:
            self.streaming = False
            self.on_gone = None
            self.sink.end(self)


Application = Callable[[Exchange], None]
"""Answers an exchange, now or later."""


def json_response(document: Any, status: int = 200) -> Response:
    """A response with a JSON body."""
    return Response(status, (orjson.dumps(document),))


def render_head(
    response: Response, exchange: Exchange, *, length: int | None, date: bytes, close: bool
) -> bytes:
    """Status line and headers, up to and with the empty line; a length of None is not known yet."""
    connection = b""
    if close:
        connection = b"Connection: close\r\n"
    elif exchange.old:
        connection = b"Connection: keep-alive\r\n"
    if length is not None:
        framing = b"Content-Length: %d\r\n" % length
    else:
        framing = b"" if exchange.old else b"Transfer-Encoding: chunked\r\n"
    return b"%bContent-Type: %b\r\n%b%b%bDate: %b\r\n\r\n" % (
        STATUS_LINES[response.status],
        response.content_type,
        framing,
        response.headers,
        connection,
        date,
    )
