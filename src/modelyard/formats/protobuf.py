"""Protocol Buffers on the wire: fields of a message, every length checked against what is there."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field

from modelyard.formats import limits
from modelyard.formats.bytesview import Damaged

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(slots=True)
class Budget:
    """How many fields may still be looked at in one file."""

    left: int = limits.MAX_ONNX_FIELDS


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a range of bytes in a file."""

    data: mmap.mmap | bytes
    start: int
    end: int
    budget: Budget = field(default_factory=Budget)

    def fields(self) -> Iterator[tuple[int, int | Message]]:
        """Yield field numbers with numbers, or with ranges for texts, bytes and messages. Raises Damaged."""
        at = self.start
        while at < self.end:
            self.budget.left -= 1
            if self.budget.left < 0:
                raise Damaged(f"it has more than {limits.MAX_ONNX_FIELDS} fields")
            tag, at = self._varint(at)
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise Damaged(f"byte {at} belongs to no field")
            if wire == VARINT:
                value, at = self._varint(at)
                yield number, value
                continue
            size, at = self._size(wire, at)
            if size > self.end - at:
                raise Damaged("it ends too early: a field is longer than the file")
            yield number, Message(self.data, at, at + size, self.budget)
            at += size

    def text(self, limit: int = 64 * 1024) -> str:
        """Return the bytes as text. Raises Damaged when there are more than `limit` or they are not UTF-8."""
        if self.end - self.start > limit:
            raise Damaged("a name is too long")
        try:
            return self.data[self.start : self.end].decode("utf-8")
        except UnicodeDecodeError:
            raise Damaged("a name is not UTF-8") from None

    def varints(self) -> Iterator[int]:
        """Yield the numbers of a packed field."""
        at = self.start
        while at < self.end:
            self.budget.left -= 1
            if self.budget.left < 0:
                raise Damaged(f"it has more than {limits.MAX_ONNX_FIELDS} fields")
            value, at = self._varint(at)
            yield value

    def _size(self, wire: int, at: int) -> tuple[int, int]:
        if wire == BYTES:
            return self._varint(at)
        if wire in (FIXED64, FIXED32):
            return (8 if wire == FIXED64 else 4), at
        raise Damaged(f"byte {at - 1} is not the beginning of a field")

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if at >= self.end:
                raise Damaged("it ends too early")
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise Damaged(f"the number before byte {at} does not end")


def signed(value: int) -> int:
    """Read a varint as the two's complement number that int64 fields hold."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value
