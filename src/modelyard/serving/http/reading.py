"""Reading one request at a time off a connection, within limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import httptools

from modelyard.serving.errors import Problem, too_large
from modelyard.serving.http.large import Room, is_large
from modelyard.serving.http.messages import Exchange, Sink

MOST_HEAD_BYTES = 65536
MOST_HEADERS = 128
MOST_TARGET_BYTES = 8192
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST")}


@dataclass(slots=True)
class _Progress:
    """How far the request being read has come."""

    head_bytes: int = 0
    body_bytes: int = 0
    in_head: bool = False
    in_body: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """A request's head as it came, and what it means; the heads of a connection are mostly the same."""

    size: int = -1
    """Bytes of head and body together."""
    head: bytes = b""
    method: str = ""
    target: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    learns: bool = True
    """False once the client has said that no request comes after this one."""


BINARY = b"inference-header-content-length"
"""Header of requests whose tensors are not text."""
_FRAMING = frozenset((b"transfer-encoding", b"expect", b"upgrade"))


class Reader:
    """Turns bytes into exchanges; whoever owns it takes them from `complete`."""

    def __init__(self, sink: Sink, *, max_body_bytes: int) -> None:
        self._sink = sink
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._exchange = Exchange(sink)
        self._parts: list[bytes] = []
        self._at = _Progress()
        self._header_count = 0
        self.expects_continue = False
        """The client waits for a 100 before it sends the body."""
        self.complete: list[Exchange] = []
        self._known = _Known()
        self.room: Room | None = None
        """Where the rest of a large body goes, which is not fed."""

    def head_of(self, data: bytes) -> bytes:
        """The head, if this was one whole request that is remembered; else nothing."""
        known = self._known
        return known.head if known.size == len(data) and data.startswith(known.head) else b""

    @property
    def in_head(self) -> bool:
        """Whether a request's head has begun and not ended."""
        return self._at.in_head

    @property
    def in_body(self) -> bool:
        """Whether a request's body is awaited."""
        return self._at.in_body

    @property
    def body_bytes(self) -> int:
        """Bytes of the body so far."""
        return self._at.body_bytes

    def feed(self, data: bytes) -> Problem | None:
        """Read what came. An answer to refuse with means that this connection must end after it."""
        if self._at.in_head or self._at.in_body:
            return self._parse(data)
        known = self._known
        if len(data) == known.size and data.startswith(known.head):
            self._take_known(data)
            return None
        if len(known.head) < len(data) < known.size and self._take_large(data):
            return None
        problem = self._parse(data)
        if problem is None and len(self.complete) == 1:
            self._learn(data, self.complete[0])
        elif problem is None and self.in_body and not self.complete:
            self._make_room(data)
        return problem

    def _take_known(self, data: bytes) -> None:
        known = self._known
        exchange = self._exchange = Exchange(self._sink)
        exchange.method, exchange.target, exchange.headers = known.method, known.target, known.headers.copy()
        exchange.body = data[len(known.head) :]
        self.complete.append(exchange)

    def arrived(self, count: int) -> None:
        """So much more of a large body is in its room."""
        room = self.room
        assert room is not None  # noqa: S101 - who is told where to read has one
        room.at += count
        self._at.body_bytes = room.at
        if room.is_full:
            room.leave()
            # Requests with binary tensors are read as from bytes.
            self._exchange.body = cast("bytes", room.body)
            self.room = None
            self._at.in_body = False
            self.expects_continue = False
            self.complete.append(self._exchange)

    def _take_large(self, data: bytes) -> bool:
        """Begin a large request whose head is known."""
        known = self._known
        size = known.size - len(known.head)
        come = len(data) - len(known.head)
        if not (data.startswith(known.head) and is_large(size, come)):
            return False
        room = self.room = Room.of(size)
        if room is None:
            return False
        exchange = self._exchange = Exchange(self._sink)
        exchange.method, exchange.target, exchange.headers = known.method, known.target, known.headers.copy()
        room.add(memoryview(data)[len(known.head) :])
        self._at.body_bytes, self._at.in_head, self._at.in_body = come, False, True
        return True

    def _make_room(self, data: bytes) -> None:
        """Let the rest of a body go straight to its place, when it is large and was announced."""
        exchange = self._exchange
        announced = exchange.headers.get(b"content-length", b"")
        if not announced.isdigit() or _FRAMING.intersection(exchange.headers) or not exchange.keep_alive:
            return
        # Binary tensors are looked at where they lie; other bodies are read as text, which copies them.
        if BINARY not in exchange.headers or not exchange.target.partition(b"?")[0].endswith(b"/infer"):
            return
        size = int(announced)
        room = Room.of(size) if is_large(size, self._at.body_bytes) else None
        if room is None:
            return
        for part in self._parts:
            room.add(part)
        self._parts = []
        self.room = room
        # The parser waits for a body that it will never see.
        self._parser = httptools.HttpRequestParser(self)
        head = data[: data.find(b"\r\n\r\n") + 4]
        if self._known.learns and not exchange.old and len(data) - len(head) == room.at:
            self._known = _Known(
                len(head) + size, head, exchange.method, exchange.target, exchange.headers.copy()
            )

    def _learn(self, data: bytes, exchange: Exchange) -> None:
        """Remember the head of a request that came whole and alone: it says how long the body is."""
        head = data[: data.find(b"\r\n\r\n") + 4]
        announced = exchange.headers.get(b"content-length", b"")
        if (
            self._known.learns
            and not exchange.old
            and announced.isdigit()
            and int(announced) == len(exchange.body) == len(data) - len(head)
            and not _FRAMING.intersection(exchange.headers)
        ):
            self._known = _Known(len(data), head, exchange.method, exchange.target, exchange.headers)

    def _parse(self, data: bytes) -> Problem | None:
        if self._at.in_head:
            self._at.head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return self._upgrade()
        except httptools.HttpParserError as error:
            return _refusal(error)
        if self._at.in_head and self._at.head_bytes > MOST_HEAD_BYTES:
            return Problem(431, "invalid", f"the head is larger than {MOST_HEAD_BYTES} bytes")
        return None

    def unfinished(self) -> Exchange:
        """The exchange being read, for an answer to a request that is never read to its end."""
        self._exchange.keep_alive = False
        return self._exchange

    # What httptools calls while it reads.

    def on_message_begin(self) -> None:
        self._exchange = Exchange(self._sink)
        self._parts = []
        at = self._at
        at.head_bytes = at.body_bytes = 0
        at.in_head, at.in_body = True, False
        self._header_count = 0
        self.expects_continue = False

    def on_url(self, url: bytes) -> None:
        self._exchange.target += url
        if len(self._exchange.target) > MOST_TARGET_BYTES:
            raise Problem(414, "invalid", f"the URL is longer than {MOST_TARGET_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._header_count > MOST_HEADERS:
            raise Problem(431, "invalid", f"there are more than {MOST_HEADERS} headers")
        self._exchange.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        parser, exchange, at = self._parser, self._exchange, self._at
        at.in_head, at.in_body = False, True
        exchange.method = _METHODS.get(method := parser.get_method()) or method.decode()
        exchange.keep_alive = parser.should_keep_alive()
        exchange.old = parser.get_http_version() == "1.0"
        if not exchange.keep_alive:
            self._known = _Known(learns=False)
        headers = exchange.headers
        announced = headers.get(b"content-length")
        if announced is not None and int(announced) > self._max_body_bytes:
            raise too_large(self._max_body_bytes)
        expected = headers.get(b"expect")
        if expected is not None:
            if expected.lower() != b"100-continue":
                raise Problem(417, "invalid", "Expect: only 100-continue is understood")
            self.expects_continue = True

    def on_body(self, body: bytes) -> None:
        self._at.body_bytes += len(body)
        if self._at.body_bytes > self._max_body_bytes:
            raise too_large(self._max_body_bytes)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        exchange.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._at.in_body = False
        self.expects_continue = False
        self.complete.append(exchange)

    def _upgrade(self) -> Problem | None:
        # A request to speak something else may be ignored; without a body it has been read to its end.
        if self.complete and not self.in_body and self.complete[-1].method != "CONNECT":
            self.complete[-1].keep_alive = False
            if (
                b"content-length" in self.complete[-1].headers
                or b"transfer-encoding" in self.complete[-1].headers
            ):
                self.complete.pop()
                return Problem(
                    400, "invalid", "Upgrade: this server speaks HTTP/1.1 only; leave the header out"
                )
            return None
        return Problem(400, "invalid", "Upgrade and CONNECT are not offered")


def _refusal(error: Exception) -> Problem:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Problem):
            return cause
        cause = cause.__context__
    return Problem(400, "invalid", f"this is not HTTP/1.1: {error}")
