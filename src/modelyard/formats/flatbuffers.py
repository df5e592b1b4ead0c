"""FlatBuffers where they lie: tables, texts and vectors, every offset checked against what is there."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.formats.bytesview import Damaged

MAX_TEXT = 64 * 1024 * 1024
"""Bytes of one text that is read as a whole."""
MAX_ITEMS = 1_000_000
"""Elements of one vector that are looked at."""
_U16, _I32, _U32 = struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Table:
    """A table at a position of a buffer that ends at `end`."""

    data: mmap.mmap | bytes
    at: int
    end: int

    def number(self, field: int, default: int = 0) -> int:
        """The 32-bit number in a field, or `default` where the table has none. Raises Damaged."""
        place = self._place(field)
        return _read(_I32, self.data, place, self.end) if place else default

    def text(self, field: int) -> str:
        """The text in a field, empty where the table has none. Raises Damaged."""
        place = self._place(field)
        return self._text(place) if place else ""

    def texts(self, field: int) -> tuple[str, ...]:
        """The texts in a vector of texts. Raises Damaged."""
        return tuple(self._text(place) for place in self._places(field))

    def tables(self, field: int) -> Iterator[Table]:
        """The tables in a vector of tables. Raises Damaged."""
        for place in self._places(field):
            yield Table(self.data, place + _read(_U32, self.data, place, self.end), self.end)

    def table(self, field: int) -> Table:
        """The table in a field. Raises Damaged where there is none."""
        place = self._place(field)
        if not place:
            raise Damaged("a part of it is missing")
        return Table(self.data, place + _read(_U32, self.data, place, self.end), self.end)

    def count(self, field: int) -> int:
        """How many elements a vector has; 0 where the table has none. Raises Damaged."""
        return self._vector(field)[1]

    def _place(self, field: int) -> int:
        """Where a field's value is; 0 where the table has none."""
        index = self.at - _read(_I32, self.data, self.at, self.end)
        size = _read(_U16, self.data, index, self.end)
        entry = 4 + 2 * field
        offset = _read(_U16, self.data, index + entry, self.end) if entry + 2 <= size else 0
        return self.at + offset if offset else 0

    def _vector(self, field: int) -> tuple[int, int]:
        """Where the elements of a vector begin, and how many there are."""
        place = self._place(field)
        return self._sized(place) if place else (0, 0)

    def _sized(self, place: int) -> tuple[int, int]:
        start = place + _read(_U32, self.data, place, self.end)
        return start + 4, _read(_U32, self.data, start, self.end)

    def _places(self, field: int) -> range:
        start, size = self._vector(field)
        if size > MAX_ITEMS or start + 4 * size > self.end:
            raise Damaged("it ends too early: a list is longer than the file")
        return range(start, start + 4 * size, 4)

    def _text(self, place: int) -> str:
        start, size = self._sized(place)
        if size > MAX_TEXT or start + size > self.end:
            raise Damaged("it ends too early: a text is longer than the file")
        return self.data[start : start + size].decode("utf-8", "replace")


def root(data: mmap.mmap | bytes, start: int, end: int) -> Table:
    """The root table of the buffer between `start` and `end`. Raises Damaged."""
    return Table(data, start + _read(_U32, data, start, end), end)


def _read(form: struct.Struct, data: mmap.mmap | bytes, at: int, end: int) -> int:
    if at < 0 or at + form.size > end:
        raise Damaged("it ends too early: an offset points outside the file")
    return int(form.unpack_from(data, at)[0])
