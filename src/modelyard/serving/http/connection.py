"""One client's connection: requests in order, one answer each, patience with limits."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from math import inf
from time import monotonic
from typing import Protocol, cast

from modelyard.oip.tensor import Raw
from modelyard.serving.errors import Problem, unavailable
from modelyard.serving.http.large import Room, switch
from modelyard.serving.http.messages import Application, Exchange, Response, Waiting, render_head
from modelyard.serving.http.reading import Reader
from modelyard.serving.http.shortcuts import Shortcut, Shortcuts

HEAD_SECONDS = 10.0
"""A request's head must be here this long after its first byte."""
BODY_SECONDS = 30.0
BODY_BYTES_PER_SECOND = 50_000
"""A body has 30 s, and more when it comes at this rate or faster."""
WRITE_SECONDS = 30.0
"""A client that does not read for so long is cut off."""
LINGER_SECONDS = 1.0
"""After the last answer we wait for the client to close, so that it has read everything."""
JOIN_BYTES = 65536
MOST_PENDING = 64
MOST_PENDING_BYTES = 1 << 20
"""Pipelined requests, and bytes of their bodies, that may wait on one connection before we stop reading."""


class Host(Protocol):
    """What a connection needs of the server it belongs to."""

    application: Application
    draining: bool
    date: bytes
    date_line: bytes
    """The last line of an answer's head, with the empty one."""
    shortcuts: Shortcuts
    max_body_bytes: int
    idle_seconds: float

    def opened(self, connection: Connection) -> bool:
        """A connection begins; False when there are too many."""

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""

    def refuse(self, problem: Problem, exchange: Exchange) -> Response:
        """The response for a request that the application does not see."""


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self._host = host
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = Reader(self, max_body_bytes=host.max_body_bytes)
        self._current: Waiting | None = None
        self._pending: deque[Exchange] = deque()
        self._shortcut: Shortcut | None = None
        """For requests like the last one; None while anything else is under way than one answer."""
        self._last_head = b""
        self._last_shortcut: Shortcut | None = None
        self._advancing = False
        self._paused_reading = False
        self._paused_writing = False
        self._deaf = False
        """Nothing more is read: the last answer is decided."""
        self._ending = False
        """The last answer is written."""
        self._prolonged = False
        self._takes_large = False
        self._body_since = 0.0
        self.active_at = 0.0
        """When it was opened or last answered, on the loop's clock."""
        self.deadline = inf
        """When the server's sweep cuts this connection off, on the loop's clock."""

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or an answer is not wholly sent."""
        if self._transport is None:
            return False
        if self._transport.get_write_buffer_size():
            return True
        return not self._ending and (self.answering or self._reader.in_head or self._reader.in_body)

    @property
    def is_ending(self) -> bool:
        """Whether its last answer is written."""
        return self._ending

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, and not their class.
        self._transport = cast("asyncio.Transport", transport)
        self.active_at = self._loop.time()
        self.deadline = self.active_at + HEAD_SECONDS
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._host.opened(self):
            self._refuse(unavailable("there are too many connections: try again", safe=True))
            self._advance()

    def data_received(self, data: bytes) -> None:
        shortcut = self._shortcut
        if shortcut is not None and self._current is None and not self._pending:
            body = shortcut.body_of(data)
            if body is not None and shortcut.begin(self, body, monotonic()):
                return
        if not self._deaf:
            self._read(data)

    def _read(self, data: bytes) -> None:
        self._shortcut = None
        problem = self._reader.feed(data)
        if self._reader.room is not None and not self._takes_large and self._transport is not None:
            self._takes_large = True
            switch(self._transport, self, reading=not self._paused_reading)
        complete = self._reader.complete
        if problem is None and len(complete) == 1:
            self._look_for_shortcut(data, complete[0])
        self._go_ahead(problem)

    def body_arrived(self, count: int) -> None:
        """So much more of a large body is in its room."""
        self._reader.arrived(count)
        if not self._deaf:
            self._go_ahead(None)

    @property
    def room(self) -> Room | None:
        """Where the large body that is awaited goes."""
        return self._reader.room

    def _go_ahead(self, problem: Problem | None) -> None:
        """Begin what is read to its end."""
        complete = self._reader.complete
        if complete:
            now = monotonic()
            for exchange in complete:
                exchange.received_at = now
            self._pending += complete
            complete.clear()
        if problem is not None:
            self._refuse(problem)
        self._advance()
        if not self._ending:
            self._set_patience()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._deaf = True
        if self._reader.room is not None:
            self._reader.room.leave()
        waiting = [self._current, *self._pending]
        self._current = None
        self._pending.clear()
        self._transport = None
        for exchange in waiting:
            if exchange is not None:
                exchange.gone()
        self._host.closed(self)

    def pause_writing(self) -> None:
        self._paused_writing = True
        self._shortcut = None
        self.deadline = self._loop.time() + WRITE_SECONDS

    def resume_writing(self) -> None:
        self._paused_writing = False
        self._advance()
        self._set_patience()

    # What the server and exchanges call.

    def send(self, exchange: Exchange, response: Response) -> None:
        """Write the answer to the current request, and go on with the next."""
        if exchange is not self._current:
            return
        self._current = None
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        close = self._is_last(exchange)
        self._write(transport, exchange, response, close=close)
        self._go_on(close=close)

    def take(self, asked: Waiting) -> None:
        """This is what is answered next, perhaps in place of what was."""
        self._current = asked
        self.deadline = inf

    def put(self, asked: Waiting, head: bytes, body: Raw) -> None:
        """Write the answer to the current request, which took the quick way, and go on with the next."""
        if asked is not self._current:
            return
        self._current = None
        transport, host = self._transport, self._host
        if transport is None or transport.is_closing():
            return
        last = not self._pending and (self._deaf or host.draining)
        rest = b"Connection: close\r\n" + host.date_line if last else host.date_line
        if len(body) <= JOIN_BYTES:
            transport.write(b"".join((head, rest, body)))
        else:
            transport.writelines((head, rest, body))
        if self._shortcut is None or self._pending or last:
            self._go_on(close=last)
        else:
            self.active_at = now = self._loop.time()
            self.deadline = now + host.idle_seconds

    def start(self, exchange: Exchange, response: Response) -> None:
        """Write the head of an answer whose body comes in parts."""
        transport = self._transport
        if exchange is not self._current or transport is None or transport.is_closing():
            return
        if exchange.old or self._is_last(exchange):
            exchange.keep_alive = False
        head = render_head(
            response, exchange, length=None, date=self._host.date, close=not exchange.keep_alive
        )
        transport.write(head)
        for part in response.parts:
            self.send_part(exchange, part)

    def send_part(self, exchange: Exchange, part: Raw) -> int:
        """Write a part as a chunk; HTTP/1.0 has no chunks, its body ends with the connection."""
        transport = self._transport
        if exchange is not self._current or transport is None or transport.is_closing():
            return 0
        transport.write(part if exchange.old else b"".join((b"%x\r\n" % len(part), part, b"\r\n")))
        return transport.get_write_buffer_size()

    def end(self, exchange: Exchange) -> None:
        """Write the last chunk, and go on with the next request."""
        if exchange is not self._current:
            return
        self._current = None
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not exchange.old:
            transport.write(b"0\r\n\r\n")
        self._go_on(close=not exchange.keep_alive)

    def retire(self, *, quiet_since: float) -> None:
        """Close, because the server ends, if nothing is under way and nothing was since that time."""
        if (
            not self.busy
            and self.active_at <= quiet_since
            and not self._ending
            and self._transport is not None
        ):
            self._end()

    def cut(self) -> None:
        """Give up on this client: answer a request that never came to its end, else just close."""
        unsent = self._transport is not None and self._transport.get_write_buffer_size() > 0
        if self._ending and unsent and not self._prolonged:
            self._prolonged = True
            self.deadline = self._loop.time() + WRITE_SECONDS
        elif self._ending or self._transport is None or self._paused_writing:
            self.abort()
        elif self._reader.in_head or self._reader.in_body:
            self._refuse(Problem(408, "timed_out", "the request did not arrive in time"))
            self._advance()
        else:
            self._end()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # How it works.

    def _look_for_shortcut(self, data: bytes, exchange: Exchange) -> None:
        """See whether requests like this one, which came alone, have a quick way."""
        head = self._reader.head_of(data)
        if head is not self._last_head:
            self._last_head = head
            self._last_shortcut = self._host.shortcuts.find(head, exchange) if head else None
        self._shortcut = None if self._paused_writing else self._last_shortcut

    def _is_last(self, exchange: Exchange) -> bool:
        """Whether the connection ends with the answer to this exchange."""
        last = not self._pending and (self._deaf or self._host.draining)
        return last or not exchange.keep_alive

    def _go_on(self, *, close: bool) -> None:
        self.active_at = self._loop.time()
        if close:
            self._end()
        elif not self._advancing:
            self._advance()
            self._set_patience()

    def _advance(self) -> None:
        """Begin the next request; a loop, because an answer may come at once."""
        if self._advancing:
            return
        self._advancing = True
        while self._pending and self._current is None and not self._paused_writing and self._transport:
            exchange = self._current = self._pending.popleft()
            if exchange.refusal is not None:
                exchange.answer(exchange.refusal)
            else:
                self._host.application(exchange)
        self._advancing = False
        self._regulate()
        if self._reader.expects_continue and not self.answering and self._transport is not None:
            self._reader.expects_continue = False
            if self._reader.body_bytes == 0:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def answering(self) -> bool:
        """Whether a request is being answered."""
        return self._current is not None or bool(self._pending)

    def _regulate(self) -> None:
        """Stop reading from a client that is far ahead of its answers."""
        if not (self._pending or self._paused_writing or self._paused_reading):
            return
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        full = self._paused_writing or (bool(self._pending) and self._is_far_ahead())
        if full and not self._paused_reading:
            self._paused_reading = True
            transport.pause_reading()
        elif not full and self._paused_reading:
            self._paused_reading = False
            transport.resume_reading()

    def _is_far_ahead(self) -> bool:
        held = sum(len(exchange.body) for exchange in self._pending)
        return len(self._pending) >= MOST_PENDING or held > MOST_PENDING_BYTES

    def _set_patience(self) -> None:
        if self._paused_writing or self._ending:
            return
        now = self._loop.time()
        if self.answering:
            self.deadline = inf
        elif self._reader.in_body:
            self._body_since = self._body_since or now
            self.deadline = self._body_since + BODY_SECONDS + self._reader.body_bytes / BODY_BYTES_PER_SECOND
        elif self._reader.in_head:
            self.deadline = min(self.deadline, now + HEAD_SECONDS)
        else:
            self._body_since = 0.0
            self.deadline = now + self._host.idle_seconds

    def _refuse(self, problem: Problem) -> None:
        """Queue an answer behind those that are due, and read nothing more."""
        self._deaf = True
        self._shortcut = None
        exchange = self._reader.unfinished()
        exchange.received_at = monotonic()
        exchange.refusal = self._host.refuse(problem, exchange)
        self._pending.append(exchange)

    def _write(
        self, transport: asyncio.Transport, exchange: Exchange, response: Response, *, close: bool
    ) -> None:
        parts = response.parts
        length = len(parts[0]) if len(parts) == 1 else sum(len(part) for part in parts)
        head = render_head(response, exchange, length=length, date=self._host.date, close=close)
        if exchange.method == "HEAD":
            transport.write(head)
        elif length <= JOIN_BYTES:
            transport.write(b"".join((head, *parts)))
        else:
            transport.writelines((head, *parts))

    def _end(self) -> None:
        """Half-close after the last answer; the sweep closes what the client leaves open."""
        transport = self._transport
        self._deaf = self._ending = True
        self._shortcut = None
        self.deadline = self._loop.time() + LINGER_SECONDS
        if transport is None or transport.is_closing():
            return
        if self._paused_reading:
            self._paused_reading = False
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
