"""Universal Binary JSON as XGBoost writes it, read with every length checked against what is there."""

from __future__ import annotations

import mmap
import struct

from modelyard.formats import limits
from modelyard.formats.bytesview import Damaged

Bytes = mmap.mmap | bytes
INTEGERS = {0x69: ">b", 0x55: ">B", 0x49: ">h", 0x6C: ">i", 0x4C: ">q"}
FLOATS = {0x64: ">f", 0x44: ">d"}
NUMBERS = {**INTEGERS, **FLOATS}
WORDS: dict[int, object] = {0x54: True, 0x46: False, 0x5A: None}
STRING, CHARACTER, PRECISE, NOTHING = ord("S"), ord("C"), ord("H"), ord("N")
KEPT = 100_000
"""Elements of one array that are returned."""
MAX_VALUES = 20_000_000


class Reader:
    """Reads values one after the other; what lies below a key of `skipped` is checked but not kept."""

    def __init__(self, data: Bytes, *, at: int = 0, skipped: frozenset[str] = frozenset()) -> None:
        self._data = data
        self._end = len(data)
        self._skipped = skipped
        self._values = 0
        self.at = at

    def value(self, *, keep: bool = True, depth: int = 0) -> object:
        """Return the value at the current position. Raises Damaged."""
        return self._of_type(self._marker(), keep=keep, depth=depth)

    def _of_type(self, marker: int, *, keep: bool, depth: int) -> object:
        self._count(depth)
        if marker in NUMBERS:
            return self._number(marker)
        if marker in WORDS:
            return WORDS[marker]
        if marker in (STRING, PRECISE):
            return self._text(keep=keep)
        if marker == CHARACTER:
            return self._take(1).decode("latin1")
        if marker == ord("{"):
            return self._object(keep=keep, depth=depth)
        if marker == ord("["):
            return self._array(keep=keep, depth=depth)
        raise Damaged(f"byte {marker} at {self.at - 1} does not begin a value")

    def _count(self, depth: int) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise Damaged(f"it has more than {MAX_VALUES} values")
        if depth > limits.MAX_JSON_DEPTH:
            raise Damaged(f"it is nested more than {limits.MAX_JSON_DEPTH} levels deep")

    def _object(self, *, keep: bool, depth: int) -> dict[str, object]:
        kind, count = self._header()
        made: dict[str, object] = {}
        while count is None or count > 0:
            if count is None and self._peek() == ord("}"):
                self.at += 1
                break
            key = self._text(keep=True)
            wanted = keep and key not in self._skipped
            marker = self._marker() if kind is None else kind
            value = self._of_type(marker, keep=wanted, depth=depth + 1)
            if wanted:
                made[key] = value
            count = None if count is None else count - 1
        if kind is None and count == 0 and self.at < self._end and self._peek() == ord("}"):
            self.at += 1
        return made

    def _array(self, *, keep: bool, depth: int) -> list[object]:
        kind, count = self._header()
        made: list[object] = []
        if kind in NUMBERS and count is not None and not (keep and count <= KEPT):
            self._skip(count * struct.calcsize(NUMBERS[kind]))
            return made
        while count is None or count > 0:
            if count is None and self._peek() == ord("]"):
                self.at += 1
                break
            marker = self._marker() if kind is None else kind
            value = self._of_type(marker, keep=keep, depth=depth + 1)
            if keep and len(made) < KEPT:
                made.append(value)
            count = None if count is None else count - 1
        return made

    def _header(self) -> tuple[int | None, int | None]:
        kind = count = None
        if self._peek() == ord("$"):
            self.at += 1
            kind = self._take(1)[0]
        if self._peek() == ord("#"):
            self.at += 1
            count = self._length()
            if count > self._end - self.at and kind not in WORDS:
                raise Damaged("it ends too early: an array is longer than the file")
        if kind is not None and (count is None or count > MAX_VALUES * 64):
            raise Damaged("an array has a type but no length")
        return kind, count

    def _length(self) -> int:
        marker = self._marker()
        if marker not in INTEGERS:
            raise Damaged(f"byte {marker} at {self.at - 1} does not begin a length")
        count = int(self._number(marker))
        if count < 0:
            raise Damaged("a length is negative")
        return count

    def _number(self, marker: int) -> float:
        layout = NUMBERS[marker]
        number: float = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
        return number

    def _text(self, *, keep: bool) -> str:
        size = self._length()
        if not keep or size > limits.MAX_TEXT:
            self._skip(size)
            return ""
        return self._take(size).decode("utf-8", "replace")

    def _marker(self) -> int:
        marker = self._take(1)[0]
        while marker == NOTHING:
            marker = self._take(1)[0]
        return marker

    def _peek(self) -> int:
        if self.at >= self._end:
            raise Damaged("it ends too early")
        return self._data[self.at]

    def _take(self, count: int) -> bytes:
        start = self.at
        self._skip(count)
        return self._data[start : self.at]

    def _skip(self, count: int) -> None:
        if count > self._end - self.at:
            raise Damaged("it ends too early")
        self.at += count
