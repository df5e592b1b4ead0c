"""What goes out on one connection: collected for a turn of the loop, within both windows of the peer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from struct import Struct

from modelyard.oip.tensor import Raw
from modelyard.serving.http2 import frames as h2
from modelyard.serving.http2.frames import Broken, frame_head, headers_frames
from modelyard.serving.http2.stream import Stream

WRITE_SECONDS = 30.0
"""A client that takes nothing for so long is cut off."""
_FLUSH_BYTES = 1 << 19
_JOIN_BYTES = 65536
_TURN_BYTES = 1 << 18
"""A stream sends so much before others have their turn."""
_EMPTY_TABLE = b"\x20"
"""Says that the peer's table of headers stays empty, whatever size it allows."""


_FRAME = Struct(">BHBBI")


def _head_frames(identity: int, block: bytes, last: int, size: int) -> bytes:
    """Headers that fit into one frame, and the head of the one frame of data behind them."""
    headers = _FRAME.pack(0, len(block), h2.HEADERS, h2.END_HEADERS, identity)
    return b"%b%b%b" % (headers, block, _FRAME.pack(size >> 16, size & 0xFFFF, h2.DATA, last, identity))


def _trailers_frame(identity: int, trailers: bytes) -> bytes:
    """Trailers that fit into one frame."""
    flags = h2.END_HEADERS | h2.END_STREAM
    return _FRAME.pack(0, len(trailers), h2.HEADERS, flags, identity) + trailers


class Outgoing:
    """Writes frames, and holds back what the peer does not take yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[Stream], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._out: list[Raw] = []
        self._size = 0
        self._blocked: dict[int, Stream] = {}
        self._has_turn = False
        self._prefix = _EMPTY_TABLE
        self._window = 65535
        self._largest = h2.SMALLEST_LARGEST_FRAME
        self.initial_window = 65535
        """Of new streams."""
        self.paused_at = 0.0
        """Since when the socket takes no more; 0 when it does."""

    def attach(self, transport: asyncio.Transport | None) -> None:
        """Write here from now on; None is nowhere."""
        self._transport = transport
        if transport is None:
            self._out.clear()
            self._blocked.clear()

    @property
    def deadline(self) -> float:
        """When patience with a client that takes nothing ends."""
        return self.paused_at + WRITE_SECONDS if self.paused_at else inf

    def put(self, data: bytes) -> None:
        """Send frames."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)
        self._size += len(data)

    def flush(self) -> None:
        """Hand over what is collected."""
        out, size = self._out, self._size
        self._out, self._size = [], 0
        transport = self._transport
        if not out or transport is None or transport.is_closing():
            return
        if size <= _JOIN_BYTES:
            transport.write(b"".join(out))
        else:
            transport.writelines(out)

    def headers(self, stream: Stream, block: bytes, *, end: bool) -> None:
        """Send a header block."""
        self.put(headers_frames(stream.identity, self._begun(block), end=end, largest=self._largest))
        if end:
            self._ended(stream)

    def answer(self, stream: Stream, block: bytes, parts: Sequence[Raw], trailers: bytes) -> None:
        """Send a whole answer: headers, body, and trailers if there are any."""
        size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        if size > min(self._window, stream.send_window, self._largest) or self.paused_at:
            self.headers(stream, block, end=False)
            stream.trailers = trailers
            self.data(stream, parts)
            return
        identity, block = stream.identity, self._begun(block)
        self._window -= size
        last = 0 if trailers else h2.END_STREAM
        if max(len(block), len(trailers)) > h2.SMALLEST_LARGEST_FRAME:
            self.put(headers_frames(identity, block, end=False, largest=self._largest))
            self._out += (frame_head(h2.DATA, last, identity, size), *parts)
            if trailers:
                self._out.append(headers_frames(identity, trailers, end=True, largest=self._largest))
        else:
            if not self._out:
                self._loop.call_soon(self.flush)
            self._out += (_head_frames(identity, block, last, size), *parts)
            if trailers:
                self._out.append(_trailers_frame(identity, trailers))
            self._size += len(block)
        self._size += size + 64
        self._ended(stream)

    def data(self, stream: Stream, parts: Sequence[Raw]) -> None:
        """Send a piece of a body, as soon as the peer takes it."""
        size = sum(map(len, parts))
        if not stream.unsent:
            stream.unsent = deque()
            stream.progress_at = self._loop.time()
        if size <= _JOIN_BYTES and len(parts) > 1:
            stream.unsent.append(b"".join(parts))
        else:
            stream.unsent += [part for part in parts if len(part)]
        stream.unsent_bytes += size
        self.pump(stream)

    def pump(self, stream: Stream) -> None:
        """Send what a stream has, as far as the peer takes it; its end when nothing is left."""
        if stream.closed_by_us:
            return
        sent = 0
        has_waited = self._blocked.pop(stream.identity, None) is not None
        while stream.unsent:
            room = min(self._window, stream.send_window, self._largest)
            if self.paused_at or room <= 0 or sent > _TURN_BYTES:
                self._blocked[stream.identity] = stream
                if sent > _TURN_BYTES and not self._has_turn:
                    self._has_turn = True
                    self._loop.call_soon(self._turn)
                return
            sent += self._send_part(stream, room)
        if stream.trailers is not None:
            self._finish(stream, sent)
        elif has_waited and stream.receiver is not None:
            stream.receiver.drained()

    def _finish(self, stream: Stream, sent: int) -> None:
        """End a stream that has nothing left to send."""
        if stream.trailers:
            self.headers(stream, stream.trailers, end=True)
            return
        if not sent:
            self.put(frame_head(h2.DATA, h2.END_STREAM, stream.identity, 0))
        self._ended(stream)

    def _send_part(self, stream: Stream, room: int) -> int:
        part = stream.unsent[0]
        size = len(part)
        if size > room:
            view = memoryview(part)
            part, stream.unsent[0] = view[:room], view[room:]
            size = room
        else:
            stream.unsent.popleft()
        last = not stream.unsent and stream.trailers == b""
        self.put(frame_head(h2.DATA, h2.END_STREAM if last else 0, stream.identity, size))
        self._out.append(part)
        self._size += size
        self._window -= size
        stream.send_window -= size
        stream.unsent_bytes -= size
        stream.progress_at = self._loop.time()
        if self._size > _FLUSH_BYTES:
            # The transport says when it has enough, which would never be heard of at the end of the turn.
            self.flush()
        return size

    def pump_all(self) -> None:
        """Go on with the streams that had to wait, in turns."""
        while self._blocked and not self.paused_at and self._window > 0:
            waiting = list(self._blocked.values())
            before = self._window
            for stream in waiting:
                self._blocked[stream.identity] = stream
                self.pump(stream)
            if self._window == before:
                return

    def _turn(self) -> None:
        self._has_turn = False
        self.pump_all()

    def forget(self, stream: Stream) -> None:
        """Drop what a stream has not sent."""
        self._blocked.pop(stream.identity, None)
        if stream.unsent:
            stream.unsent = deque()
        stream.unsent_bytes = 0

    def widen(self, by: int) -> None:
        """The peer takes more on the whole connection; raises Broken when that is beyond bounds."""
        self._window += by
        if self._window > h2.LARGEST_WINDOW:
            raise Broken(h2.FLOW_CONTROL_ERROR, "the connection's window is too large")
        if self._blocked:
            self.pump_all()

    def take_largest(self, size: int) -> None:
        """The peer takes frames up to this size; raises Broken for a size out of bounds."""
        if not h2.SMALLEST_LARGEST_FRAME <= size < 1 << 24:
            raise Broken(h2.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is out of bounds")
        self._largest = min(size, _TURN_BYTES)

    def _begun(self, block: bytes) -> bytes:
        if self._prefix:
            block, self._prefix = self._prefix + block, b""
        return block
