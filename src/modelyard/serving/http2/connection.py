"""One client's HTTP/2 connection: from bytes to streams, for as long as the client keeps to the rules."""

from __future__ import annotations

import asyncio
import socket
from math import inf
from typing import Protocol, cast

from modelyard.serving.http2 import frames as h2
from modelyard.serving.http2.frames import Broken, Splitter
from modelyard.serving.http2.incoming import Incoming, Open
from modelyard.serving.http2.outgoing import Outgoing
from modelyard.serving.http2.stream import Stream
from modelyard.serving.http2.whole import Planner, WholeCalls

HEAD_SECONDS = 10.0
LINGER_SECONDS = 1.0
"""As for HTTP/1.1."""
LARGEST_FRAME = 65536
NOTICE_SECONDS = 0.1
"""Between saying that the server leaves and refusing new requests: what is on its way then still arrives."""


class Host(Protocol):
    """What a connection needs of the server it belongs to."""

    max_body_bytes: int
    idle_seconds: float

    def opened(self, connection: Http2Connection) -> bool:
        """A connection begins; False when there are too many."""

    def closed(self, connection: Http2Connection) -> None:
        """A connection is gone."""


class Http2Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(
        self, host: Host, loop: asyncio.AbstractEventLoop, receive: Open, planner: Planner | None = None
    ) -> None:
        """`planner` knows a quick way for calls like earlier ones."""
        self._host = host
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._preface = b""
        self._splitter = Splitter(LARGEST_FRAME)
        self._out = Outgoing(loop, self._ended)
        self._in = Incoming(loop, self._out, receive, max_body_bytes=host.max_body_bytes)
        self._whole = None if planner is None else WholeCalls(self._in, self._out, planner)
        self._opened_at = 0.0
        self._ending = False
        self._end_at = inf
        self._leaving_at = 0.0
        """When the client was told that the server leaves; 0 when it was not."""

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or an answer is not wholly sent."""
        if self._transport is None:
            return False
        return bool(self._transport.get_write_buffer_size() or (self._in.streams and not self._ending))

    @property
    def is_ending(self) -> bool:
        """Whether its last answer is written."""
        return self._ending

    @property
    def deadline(self) -> float:
        """When the server's sweep cuts something off, on the loop's clock."""
        if self._transport is None:
            return inf
        if self._ending:
            return self._end_at
        if not self._in.greeted:
            return self._opened_at + HEAD_SECONDS
        if not self._in.streams and not self._in.in_head:
            return min(self._in.active_at + self._host.idle_seconds, self._out.deadline)
        return min(self._out.deadline, self._in.deadline)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, and not their class.
        self._transport = cast("asyncio.Transport", transport)
        self._out.attach(self._transport)
        self._opened_at = self._in.active_at = self._loop.time()
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out.put(self._in.greeting(LARGEST_FRAME))
        if not self._host.opened(self):
            self._end(h2.NO_ERROR, "there are too many connections: try again")

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        try:
            if len(self._preface) < len(h2.PREFACE):
                data = self._after_preface(data)
            if self._whole is not None and self._splitter.is_between:
                data = self._take_whole(self._whole, data)
            if data:
                for frame in self._splitter.feed(data):
                    self._in.take(frame)
        except Broken as broken:
            self._end(broken.code, broken.reason)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._ending = True
        self._out.attach(None)
        self._in.lose()
        self._host.closed(self)

    def pause_writing(self) -> None:
        self._out.paused_at = self._loop.time()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._out.paused_at = 0.0
        self._out.pump_all()
        # Sending may have filled the socket again.
        if self._transport is not None and not self._out.paused_at and not self._transport.is_closing():
            self._transport.resume_reading()

    # What the server calls.

    def retire(self, *, quiet_since: float) -> None:
        """Say that the server leaves; then take no new requests; then, when all are answered, close."""
        if self._ending or self._transport is None:
            return
        now = self._loop.time()
        if not self._leaving_at:
            self._leaving_at = now
            self._out.put(_goaway(h2.LARGEST_WINDOW, h2.NO_ERROR, ""))
            self._in.leave()
        elif now - self._leaving_at < NOTICE_SECONDS:
            return
        elif not self._in.refuses:
            self._in.refuses = True
            self._out.put(_goaway(self._in.last_stream, h2.NO_ERROR, ""))
        elif not self.busy and self._in.active_at <= quiet_since:
            self._end(h2.NO_ERROR, "")

    def cut(self) -> None:
        """Give up on a client, or on a request, that did not go on in time."""
        now = self._loop.time()
        if self._ending or self._out.deadline <= now:
            self.abort()
        elif not self._in.greeted or self._in.in_head:
            self._end(h2.PROTOCOL_ERROR, "the request did not arrive in time")
        elif not self._in.streams:
            self._end(h2.NO_ERROR, "")
        else:
            self._in.cut(now)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # How it works.

    def _take_whole(self, whole: WholeCalls, data: bytes) -> bytes:
        """Take calls that came whole, and whole frames between them; returns the rest."""
        at = 0
        while True:
            at = whole.take(data, at)
            after = self._splitter.end_of_frame(data, at)
            if not after:
                return data[at:] if at else data
            for frame in self._splitter.feed(data[at:after]):
                self._in.take(frame)
            at = after

    def _after_preface(self, data: bytes) -> bytes:
        missing = len(h2.PREFACE) - len(self._preface)
        self._preface += data[:missing]
        if not h2.PREFACE.startswith(self._preface):
            raise Broken(h2.PROTOCOL_ERROR, "this is not how HTTP/2 begins")
        return data[missing:]

    def _ended(self, stream: Stream) -> None:
        self._in.ended(stream)

    def _end(self, code: int, reason: str) -> None:
        """Say why, half-close, forget what was under way; the sweep closes what the client leaves open."""
        transport = self._transport
        self._ending = True
        self._end_at = self._loop.time() + LINGER_SECONDS
        if transport is None or transport.is_closing():
            return
        self._out.put(_goaway(self._in.last_stream, code, reason))
        self._out.flush()
        self._in.lose()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()


def _goaway(last: int, code: int, reason: str) -> bytes:
    payload = last.to_bytes(4, "big") + code.to_bytes(4, "big") + reason.encode()[:200]
    return h2.frame(h2.GOAWAY, 0, 0, payload)
