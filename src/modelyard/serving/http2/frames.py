"""Frames of HTTP/2: cutting a byte stream into them, and writing them."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from modelyard.oip.tensor import Raw

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client that knows that the server speaks HTTP/2 says first."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11

ENABLE_PUSH, MOST_STREAMS, WINDOW, LARGEST_FRAME, MOST_HEADER_BYTES = 2, 3, 4, 5, 6

SMALLEST_LARGEST_FRAME = 16384
"""What every peer must take."""
LARGEST_WINDOW = (1 << 31) - 1
WHOLE = -1
_HEAD = Struct(">BHBBI")
_VIEW_BYTES = 4096
"""Payloads from this size on are views of what was read, not copies."""


class Broken(Exception):
    """The peer broke HTTP/2, or our patience: the connection ends with this error code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: Raw


class Splitter:
    """Cuts what is read into frames."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._rest: list[bytes] = []
        self._have = 0
        self._need = 9

    @property
    def is_between(self) -> bool:
        """Whether no frame has begun and not ended."""
        return not self._have

    @staticmethod
    def end_of_frame(data: bytes, at: int) -> int:
        """Where the frame ends that begins at a place, 0 when it is not whole, or large."""
        if len(data) - at < 9 or data[at]:
            return 0
        after = at + 9 + (data[at + 1] << 8 | data[at + 2])
        return after if after <= len(data) else 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now; raises Broken for one that is larger than agreed."""
        self._have += len(data)
        if self._have < self._need:
            self._rest.append(data)
            return []
        if self._rest:
            self._rest.append(data)
            data = b"".join(self._rest)
            self._rest = []
        frames: list[Frame] = []
        at, end = 0, len(data)
        self._need = 9
        while end - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            size = high << 16 | low
            if size > self._largest:
                raise Broken(FRAME_SIZE_ERROR, f"a frame of {size} bytes; the most is {self._largest}")
            after = at + 9 + size
            if after > end:
                self._need = 9 + size
                break
            payload = data[at + 9 : after] if size < _VIEW_BYTES else memoryview(data)[at + 9 : after]
            frames.append(Frame(kind, flags, stream & 0x7FFFFFFF, payload))
            at = after
        self._have = end - at
        if self._have:
            self._rest.append(data[at:])
        return frames


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def frame_head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """The nine bytes in front of a payload."""
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream)


def headers_frames(stream: int, block: bytes, *, end: bool, largest: int) -> bytes:
    """A header block as HEADERS and, if it is long, CONTINUATION."""
    flags = END_STREAM if end else 0
    if len(block) <= largest:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [frame(HEADERS, flags, stream, block[:largest])]
    rest = range(largest, len(block), largest)
    for start in rest:
        last = END_HEADERS if start == rest[-1] else 0
        parts.append(frame(CONTINUATION, last, stream, block[start : start + largest]))
    return b"".join(parts)


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def unpadded(frame: Frame) -> Raw:
    """The payload without padding and priority; raises Broken when they leave no room."""
    payload = frame.payload
    flags = frame.flags
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise Broken(FRAME_SIZE_ERROR, "a padded frame without a length of its padding")
        start, end = 1, end - payload[0]
    if flags & WITH_PRIORITY and frame.kind == HEADERS:
        start += 5
    if start > end:
        raise Broken(PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[start:end]
