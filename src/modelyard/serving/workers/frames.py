"""The front's side of the frames on a worker's socket; what the worker says is not trusted."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import orjson

from modelyard.oip.datatypes import BYTES, ITEM_BYTES, decode_bytes
from modelyard.oip.errors import Rejected
from modelyard.oip.tensor import Raw, Tensor
from modelyard.serving.errors import ServingError

PREFIX = struct.Struct("<II")
INLINE_BYTES = 65536
MOST_HEADER_BYTES = 1 << 20
MOST_BODY_BYTES = 1 << 30


class NotAFrame(ServingError):
    """The worker sent what the protocol does not have."""


class Frame(NamedTuple):
    """One message from a worker."""

    header: Mapping[str, Any]
    body: memoryview | bytes


class Splitter:
    """Cuts the stream from a worker into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now; raises NotAFrame."""
        if self._pending:
            self._pending += data
            data = bytes(self._pending) if self._is_complete() else b""
            if not data:
                return []
            self._pending.clear()
        frames: list[Frame] = []
        at = 0
        while True:
            end = _end_of_frame(data, at)
            if end < 0 or end > len(data):
                break
            frames.append(_frame(data, at))
            at = end
        if at < len(data):
            self._pending += memoryview(data)[at:]
        return frames

    def _is_complete(self) -> bool:
        end = _end_of_frame(self._pending, 0)
        return 0 <= end <= len(self._pending)


def frame(header: Mapping[str, Any], body: Sequence[Raw] = ()) -> bytes:
    """A frame as it travels."""
    text = orjson.dumps(header)
    return b"".join((PREFIX.pack(len(text), sum(map(len, body))), text, *body))


def padded(places: Sequence[int], data: Sequence[Raw]) -> list[Raw]:
    """Blocks with the gaps between their places filled."""
    parts: list[Raw] = []
    end = 0
    for place, block in zip(places, data, strict=True):
        if place > end:
            parts.append(b"\0" * (place - end))
        parts.append(block)
        end = place + len(block)
    return parts


def read_tensors(described: Any, memory: Raw) -> tuple[Tensor, ...]:
    """The tensors that a worker described, copied out; raises NotAFrame when they do not lie there."""
    try:
        return tuple(_tensor(entry, memory) for entry in described)
    except (KeyError, TypeError, ValueError, Rejected) as error:
        raise NotAFrame(f"tensors are not described rightly: {error}") from None


def needed(described: Any) -> int:
    """How much memory described tensors need; raises NotAFrame."""
    try:
        return max((int(entry["offset"]) + int(entry["nbytes"]) for entry in described), default=0)
    except (KeyError, TypeError, ValueError) as error:
        raise NotAFrame(f"tensors are not described rightly: {error}") from None


def _tensor(entry: Any, memory: Raw) -> Tensor:
    offset, size, shape = entry["offset"], entry["nbytes"], tuple(entry["shape"])
    if not (offset >= 0 and size >= 0 and offset + size <= len(memory)):
        raise ValueError(f"{offset} + {size} is beyond {len(memory)} bytes")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"shape {shape}")
    data = bytes(memory[offset : offset + size])
    datatype = entry["datatype"]
    if datatype == BYTES:
        decode_bytes(data, prod(shape))
    elif prod(shape) * ITEM_BYTES[datatype] != size:
        raise ValueError(f"{size} bytes are not {datatype} of shape {shape}")
    return Tensor(str(entry["name"]), datatype, shape, data)


def _end_of_frame(data: bytes | bytearray, at: int) -> int:
    """Where the frame at `at` ends, -1 when its lengths are not here yet."""
    if len(data) - at < PREFIX.size:
        return -1
    header, body = PREFIX.unpack_from(data, at)
    if header > MOST_HEADER_BYTES or body > MOST_BODY_BYTES:
        raise NotAFrame(f"a frame of {header} and {body} bytes")
    return int(at + PREFIX.size + header + body)


def _frame(data: bytes, at: int) -> Frame:
    size, body = PREFIX.unpack_from(data, at)
    middle = at + PREFIX.size + size
    try:
        header = orjson.loads(memoryview(data)[at + PREFIX.size : middle])
    except orjson.JSONDecodeError as error:
        raise NotAFrame(f"a header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise NotAFrame("a header is not an object")
    return Frame(header, memoryview(data)[middle : middle + body] if body else b"")
