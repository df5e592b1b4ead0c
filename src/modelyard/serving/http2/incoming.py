"""What comes in on one connection: frames become requests, within budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from modelyard.oip.tensor import Raw
from modelyard.serving.http2 import frames as h2
from modelyard.serving.http2.budget import Budget
from modelyard.serving.http2.frames import Broken, Frame, frame, unpadded
from modelyard.serving.http2.headers import MOST_HEAD_BYTES, Head, HeaderReader, Malformed
from modelyard.serving.http2.outgoing import WRITE_SECONDS, Outgoing
from modelyard.serving.http2.stream import MOST_UNSENT, RECEIVE_WINDOW, Receiver, Stream

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
BODY_BYTES_PER_SECOND = 50_000
"""As for HTTP/1.1."""
LINGER_SECONDS = 2.0
"""After an early answer, what the client still sends is read for so long: some read no answer before."""
MOST_STREAMS = 1000
CONNECTION_WINDOW = 16 << 20
MOST_CONTINUATIONS = 64
HELD_BODIES = 4
"""Unfinished requests of one connection may hold so many bodies of the largest size together."""
CONTROL_RATE, CONTROL_BURST, CONTROL_EARNED = 5_000.0, 10_000.0, 16.0
"""Frames that carry no request, each second; an answered request pays for more of them."""
RESET_RATE, RESET_BURST, RESET_EARNED = 100.0, 2.0 * MOST_STREAMS, 1.0
"""Requests taken back or malformed, each second; an answered one pays for another."""

Open = Callable[[Head, Stream], Receiver | None]
"""Takes a request by its head; None when it has been answered already."""


class Incoming:
    """The streams of one connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, out: Outgoing, receive: Open, *, max_body_bytes: int
    ) -> None:
        self._loop = loop
        self._out = out
        self._receive = receive
        self._reader = HeaderReader()
        self._most_held = HELD_BODIES * max_body_bytes
        self._held = 0
        self._window = CONNECTION_WINDOW
        self._head: _Block | None = None
        now = loop.time()
        self._control = Budget(rate=CONTROL_RATE, burst=CONTROL_BURST, now=now)
        self._resets = Budget(rate=RESET_RATE, burst=RESET_BURST, now=now)
        self.streams: dict[int, Stream] = {}
        self.greeted = False
        """The client's settings have come."""
        self.last_stream = 0
        self.refuses = False
        """New requests are refused; the client sends them again elsewhere."""
        self.active_at = now
        """When something last came or went, on the loop's clock."""
        self._frames = {
            h2.DATA: self._take_data,
            h2.HEADERS: self._take_headers,
            h2.PRIORITY: self._take_priority,
            h2.RST_STREAM: self._take_reset,
            h2.SETTINGS: self._take_settings,
            h2.PUSH_PROMISE: self._take_push,
            h2.PING: self._take_ping,
            h2.GOAWAY: self._spend,
            h2.WINDOW_UPDATE: self._take_window,
            h2.CONTINUATION: self._take_continuation,
        }

    @property
    def in_head(self) -> bool:
        """Whether the rest of a header block is awaited."""
        return self._head is not None

    @property
    def deadline(self) -> float:
        """When patience with the slowest request ends."""
        if self._head is not None:
            return self._head.since + HEAD_SECONDS
        return min(map(_deadline, self.streams.values()), default=inf)

    @property
    def takes_calls(self) -> bool:
        """Whether a new request would be taken now."""
        return self.greeted and self._head is None and not self.refuses and len(self.streams) < MOST_STREAMS

    def known_head(self, block: bytes) -> Head | None:
        """The head that a block stands for, if it was read before and means the same still."""
        return self._reader.known(block)

    def admit(self, stream: Stream, size: int) -> None:
        """A request came whole, with so many bytes of data, on a stream of the next number."""
        self.last_stream = stream.identity
        self.active_at = self._loop.time()
        self.streams[stream.identity] = stream
        self._spend_window(size)

    def greeting(self, largest_frame: int) -> bytes:
        """What the server says first."""
        values = {
            h2.MOST_STREAMS: MOST_STREAMS,
            h2.WINDOW: RECEIVE_WINDOW,
            h2.LARGEST_FRAME: largest_frame,
            h2.MOST_HEADER_BYTES: MOST_HEAD_BYTES,
        }
        return h2.settings(values) + _window_update(0, CONNECTION_WINDOW - 65535)

    def take(self, frame: Frame) -> None:
        """One frame; raises Broken when the client breaks the rules or our patience."""
        if self._head is not None and (frame.kind, frame.stream) != (h2.CONTINUATION, self._head.stream):
            raise Broken(h2.PROTOCOL_ERROR, "a header block was not ended")
        if not self.greeted and frame.kind != h2.SETTINGS:
            raise Broken(h2.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self._frames.get(frame.kind, self._spend)(frame)

    # Requests.

    def _take_headers(self, frame: Frame) -> None:
        if frame.stream % 2 == 0:
            raise Broken(h2.PROTOCOL_ERROR, "a request on a stream that is not the client's")
        block = bytes(unpadded(frame))
        end = bool(frame.flags & h2.END_STREAM)
        if frame.flags & h2.END_HEADERS:
            self._take_head(frame.stream, block, end=end)
        else:
            self._head = _Block(frame.stream, end, block, self._loop.time())

    def _take_continuation(self, frame: Frame) -> None:
        head = self._head
        if head is None:
            raise Broken(h2.PROTOCOL_ERROR, "CONTINUATION continues nothing")
        head.frames += 1
        head.block += frame.payload
        if head.frames > MOST_CONTINUATIONS or len(head.block) > MOST_HEAD_BYTES:
            raise Broken(h2.ENHANCE_YOUR_CALM, f"the headers are larger than {MOST_HEAD_BYTES} bytes")
        if frame.flags & h2.END_HEADERS:
            self._head = None
            self._take_head(head.stream, bytes(head.block), end=head.end)

    def _take_head(self, identity: int, block: bytes, *, end: bool) -> None:
        if identity <= self.last_stream:
            self._take_trailers(identity, block, end=end)
            return
        self.last_stream = identity
        self.active_at = self._loop.time()
        try:
            head = self._reader.request(block)
        except Malformed:
            self._spend_reset()
            self._out.put(_reset(identity, h2.PROTOCOL_ERROR))
            return
        if self.refuses or len(self.streams) >= MOST_STREAMS:
            self._spend_reset()
            self._out.put(_reset(identity, h2.REFUSED_STREAM))
            return
        stream = Stream(self, self._out, identity)
        self.streams[identity] = stream
        length = head.headers.get(b"content-length")
        if length is not None:
            stream.announced = int(length) if length.isdigit() and len(length) < 20 else -2
        stream.receiver = self._receive(head, stream)
        if end:
            self._take_end(stream)

    def _take_trailers(self, identity: int, block: bytes, *, end: bool) -> None:
        self._reader.trailers(block)
        stream = self.streams.get(identity)
        if stream is None:
            self._spend_reset()
        elif stream.closed_by_client or not end:
            self._fail(stream, h2.PROTOCOL_ERROR)
        else:
            self._take_end(stream)

    def _take_data(self, frame: Frame) -> None:
        identity, size = frame.stream, len(frame.payload)
        self._spend_window(size)
        stream = self.streams.get(identity)
        if stream is None:
            if identity > self.last_stream or not identity:
                raise Broken(h2.PROTOCOL_ERROR, "data on a stream that was not opened")
            self._spend(frame)
            return
        stream.receive_window -= size
        if stream.receive_window < 0 or stream.closed_by_client:
            closed = stream.closed_by_client
            self._fail(stream, h2.STREAM_CLOSED if closed else h2.FLOW_CONTROL_ERROR)
            return
        payload = unpadded(frame) if frame.flags else frame.payload
        self._take_body(stream, payload, end=bool(frame.flags & h2.END_STREAM))

    def _spend_window(self, size: int) -> None:
        self._window -= size
        if self._window < 0:
            raise Broken(h2.FLOW_CONTROL_ERROR, "more data than the connection's window")
        if self._window < CONNECTION_WINDOW // 2:
            self._out.put(_window_update(0, CONNECTION_WINDOW - self._window))
            self._window = CONNECTION_WINDOW

    def _take_body(self, stream: Stream, payload: Raw, *, end: bool) -> None:
        if not payload and not end:
            self._spend(None)
        stream.received += len(payload)
        receiver = stream.receiver
        if receiver is not None and payload and not stream.closed_by_us:
            receiver.data(payload)
            if not end:
                self._hold(stream, receiver.received)
        if end:
            self._take_end(stream)
        elif stream.identity in self.streams:
            self.refill(stream)

    def _take_end(self, stream: Stream) -> None:
        stream.closed_by_client = True
        self._hold(stream, 0)
        if stream.announced not in (-1, stream.received):
            self._fail(stream, h2.PROTOCOL_ERROR)
            return
        if stream.closed_by_us:
            self._forget(stream)
        elif stream.receiver is not None:
            stream.receiver.complete()

    def _hold(self, stream: Stream, size: int) -> None:
        self._held += size - stream.held
        stream.held = size
        if self._held > self._most_held:
            self._fail(stream, h2.ENHANCE_YOUR_CALM)

    def refill(self, stream: Stream) -> None:
        """Let the client send more on a stream, unless its receiver has enough."""
        receiver = stream.receiver
        if stream.closed_by_client or receiver is None or receiver.is_full:
            return
        if stream.receive_window < RECEIVE_WINDOW // 2 and stream.unsent_bytes < MOST_UNSENT:
            self._out.put(_window_update(stream.identity, RECEIVE_WINDOW - stream.receive_window))
            stream.receive_window = RECEIVE_WINDOW

    # What is not a request.

    def _take_settings(self, frame: Frame) -> None:
        size = len(frame.payload)
        if frame.stream or (size and frame.flags & h2.ACK):
            raise Broken(h2.PROTOCOL_ERROR, "SETTINGS out of place")
        if size % 6:
            raise Broken(h2.FRAME_SIZE_ERROR, "SETTINGS of a strange size")
        self._spend(frame)
        if frame.flags & h2.ACK:
            return
        self.greeted = True
        payload = bytes(frame.payload)
        for at in range(0, size, 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), payload[at + 2 : at + 6]
            self._set(key, int.from_bytes(value, "big"))
        self._out.put(h2.frame(h2.SETTINGS, h2.ACK, 0))

    def _set(self, key: int, value: int) -> None:
        if key == h2.WINDOW:
            if value > h2.LARGEST_WINDOW:
                raise Broken(h2.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is too large")
            change = value - self._out.initial_window
            self._out.initial_window = value
            for stream in self.streams.values():
                stream.send_window += change
                if stream.send_window > h2.LARGEST_WINDOW:
                    raise Broken(h2.FLOW_CONTROL_ERROR, "a stream's window is too large")
            self._out.pump_all()
        elif key == h2.LARGEST_FRAME:
            self._out.take_largest(value)
        elif key == h2.ENABLE_PUSH and value > 1:
            raise Broken(h2.PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH is neither 0 nor 1")

    def _take_ping(self, frame: Frame) -> None:
        if frame.stream:
            raise Broken(h2.PROTOCOL_ERROR, "PING out of place")
        if len(frame.payload) != 8:
            raise Broken(h2.FRAME_SIZE_ERROR, "PING of a strange size")
        self._spend(frame)
        self.active_at = self._loop.time()
        if not frame.flags & h2.ACK:
            self._out.put(h2.frame(h2.PING, h2.ACK, 0, bytes(frame.payload)))

    def _take_window(self, frame: Frame) -> None:
        if len(frame.payload) != 4:
            raise Broken(h2.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a strange size")
        self._spend(frame)
        by = int.from_bytes(frame.payload, "big") & h2.LARGEST_WINDOW
        if not frame.stream:
            if not by:
                raise Broken(h2.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self._out.widen(by)
            return
        stream = self._known(frame)
        if stream is None:
            return
        stream.send_window += by
        if not by or stream.send_window > h2.LARGEST_WINDOW:
            self._fail(stream, h2.FLOW_CONTROL_ERROR if by else h2.PROTOCOL_ERROR)
        elif stream.unsent:
            self._out.pump(stream)
            self.refill(stream)

    def _take_reset(self, frame: Frame) -> None:
        if len(frame.payload) != 4:
            raise Broken(h2.FRAME_SIZE_ERROR, "RST_STREAM of a strange size")
        stream = self._known(frame)
        if stream is None:
            self._spend(frame)
            return
        self._spend_reset()
        self._drop(stream)

    def _take_priority(self, frame: Frame) -> None:
        if len(frame.payload) != 5 or not frame.stream:
            raise Broken(h2.FRAME_SIZE_ERROR, "PRIORITY of a strange size")
        self._spend(frame)

    def _take_push(self, frame: Frame) -> None:
        raise Broken(h2.PROTOCOL_ERROR, "a client cannot push")

    def _known(self, frame: Frame) -> Stream | None:
        if not frame.stream or frame.stream > self.last_stream:
            raise Broken(h2.PROTOCOL_ERROR, "a frame for a stream that was not opened")
        return self.streams.get(frame.stream)

    def _spend(self, frame: Frame | None) -> None:
        if not self._control.spend(self._loop.time()):
            raise Broken(h2.ENHANCE_YOUR_CALM, "too many frames that carry no request")

    def _spend_reset(self) -> None:
        if not self._resets.spend(self._loop.time()):
            raise Broken(h2.ENHANCE_YOUR_CALM, "too many requests taken back or malformed")

    # Ends.

    def ended(self, stream: Stream) -> None:
        """Our last word on a stream is said; what the client still sends of it is not wanted."""
        stream.closed_by_us = True
        self.active_at = self._loop.time()
        self._control.earn(CONTROL_EARNED)
        self._resets.earn(RESET_EARNED)
        if not stream.closed_by_client:
            if stream.lingers:
                stream.progress_at = self.active_at
                return
            self._out.put(_reset(stream.identity, h2.NO_ERROR))
        self._forget(stream)

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream at once, both ways."""
        if self.streams.get(stream.identity) is stream:
            self._out.put(_reset(stream.identity, code))
            self._drop(stream)

    def leave(self) -> None:
        """Tell receivers that the server ends."""
        for stream in list(self.streams.values()):
            if stream.receiver is not None:
                stream.receiver.leaving()

    def lose(self) -> None:
        """The client is gone, and with it all that it asked."""
        for stream in list(self.streams.values()):
            self._drop(stream)

    def cut(self, now: float) -> None:
        """Give up on the requests that did not go on in time."""
        for stream in list(self.streams.values()):
            if _deadline(stream) > now:
                continue
            if stream.closed_by_us:
                self.reset(stream, h2.NO_ERROR)
            elif stream.unsent or stream.receiver is None:
                self.reset(stream, h2.CANCEL)
            else:
                stream.receiver.late()

    def _fail(self, stream: Stream, code: int) -> None:
        """The client's mistake ends this stream; too many of them end the connection."""
        self.reset(stream, code)
        self._spend_reset()

    def _drop(self, stream: Stream) -> None:
        had_end = stream.closed_by_us
        stream.closed_by_us = stream.closed_by_client = True
        self._forget(stream)
        if stream.receiver is not None and not had_end:
            stream.receiver.gone()

    def _forget(self, stream: Stream) -> None:
        self._held -= stream.held
        stream.held = 0
        self._out.forget(stream)
        self.streams.pop(stream.identity, None)


class _Block:
    """A header block that is not whole yet."""

    __slots__ = ("block", "end", "frames", "since", "stream")

    def __init__(self, stream: int, end: bool, block: bytes, since: float) -> None:
        self.stream = stream
        self.end = end
        self.block = bytearray(block)
        self.since = since
        self.frames = 0


def _deadline(stream: Stream) -> float:
    if stream.unsent:
        return stream.progress_at + WRITE_SECONDS
    if stream.closed_by_us:
        return stream.progress_at + LINGER_SECONDS
    receiver = stream.receiver
    if receiver is None or not receiver.waits_since:
        return inf
    return receiver.waits_since + BODY_SECONDS + receiver.received / BODY_BYTES_PER_SECOND


def _window_update(stream: int, by: int) -> bytes:
    return frame(h2.WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big"))


def _reset(stream: int, code: int) -> bytes:
    return frame(h2.RST_STREAM, 0, stream, code.to_bytes(4, "big"))
