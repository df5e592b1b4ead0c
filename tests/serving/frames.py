"""A client that says exactly the frames it is told to, and reads what comes back."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

import hpack

from tests.serving.replicas import Replica

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Its bytes."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(value: int) -> bytes:
    """Four bytes."""
    return struct.pack(">I", value)


@dataclass
class Heard:
    """One frame that came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[:4] if self.kind == RST_STREAM else self.payload[4:8], "big")


class Client:
    """One HTTP/2 connection."""

    def __init__(self, running: Replica) -> None:
        self.sock = running.connect(5)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self._rest = b""

    def greet(self, settings: bytes = b"") -> None:
        """Begin the connection."""
        self.say(PREFACE + frame(SETTINGS, payload=settings))

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def head(self, path: str = "/livez", method: str = "GET", **headers: str) -> bytes:
        """An encoded request head."""
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x")]
        more = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return self.encoder.encode([*fields, *more])

    def ask(self, stream: int, path: str = "/livez", body: bytes | None = None, **headers: str) -> None:
        """Send a whole request."""
        method = "GET" if body is None else "POST"
        end = END_STREAM if body is None else 0
        self.say(frame(HEADERS, END_HEADERS | end, stream, self.head(path, method, **headers)))
        if body is not None:
            parts = [body[at : at + 16384] for at in range(0, len(body), 16384)] or [b""]
            for part in parts:
                self.say(frame(DATA, END_STREAM if part is parts[-1] else 0, stream, part))

    def hear(self) -> Heard | None:
        """The next frame; None when the server has closed."""
        head = self._read(9)
        if head is None:
            return None
        payload = self._read(int.from_bytes(head[:3], "big"))
        if payload is None:
            return None
        return Heard(head[3], head[4], int.from_bytes(head[5:], "big"), payload)

    def until(self, kind: int, stream: int | None = None) -> Heard:
        """The next frame of this kind."""
        while True:
            heard = self.hear()
            assert heard is not None, f"closed before a frame of kind {kind}"
            if heard.kind == HEADERS and heard.kind != kind:
                self.decoder.decode(heard.payload)
            if heard.kind == kind and (stream is None or heard.stream == stream):
                return heard

    def until_one_of(self, *kinds: int) -> Heard:
        """The next frame of one of these kinds."""
        while True:
            heard = self.hear()
            assert heard is not None, f"closed before a frame of kinds {kinds}"
            if heard.kind in kinds:
                return heard

    def answer(self, stream: int) -> tuple[dict[str, str], bytes]:
        """The headers, trailers included, and the body of an answer."""
        headers: dict[str, str] = {}
        body = b""
        while True:
            heard = self.hear()
            assert heard is not None, "closed before the answer was whole"
            assert heard.kind != RST_STREAM or heard.stream != stream, heard
            assert heard.kind != GOAWAY, heard
            if heard.kind == HEADERS:
                decoded = self.decoder.decode(heard.payload)
                if heard.stream == stream:
                    headers |= dict(decoded)
            elif heard.kind == DATA and heard.stream == stream:
                body += heard.payload
            if heard.stream == stream and heard.flags & END_STREAM and heard.kind in (HEADERS, DATA):
                return headers, body

    def ended(self, seconds: float = 5) -> bool:
        """Whether the server closes within so long."""
        end = time.monotonic() + seconds
        self.sock.settimeout(seconds)
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                if not self.sock.recv(1 << 16):
                    return True
            return False
        return time.monotonic() < end

    def _read(self, size: int) -> bytes | None:
        while len(self._rest) < size:
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            self._rest += data
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


@contextlib.contextmanager
def client(running: Replica, settings: bytes | None = b"") -> Iterator[Client]:
    """A connection that has said its settings, unless they are None."""
    made = Client(running)
    try:
        if settings is not None:
            made.greet(settings)
        yield made
    finally:
        made.sock.close()
