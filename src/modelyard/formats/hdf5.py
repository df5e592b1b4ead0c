"""Text attributes at the root of an HDF5 file, read without the HDF5 library.

Exactly what h5py writes is followed: attributes in the root's object header, with texts in place or in a
global heap. Everything else that could hold an attribute is refused, never guessed.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.formats import bytesview, limits
from modelyard.formats.bytesview import Damaged

SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNDEFINED = 0xFFFFFFFFFFFFFFFF
MAX_MESSAGES = 10_000
ATTRIBUTE, CONTINUATION, ATTRIBUTE_INFO = 0x0C, 0x10, 0x15
FIXED_TEXT, VARIABLE = 3, 9
ELSEWHERE = "its attributes lie where they cannot be checked; save the model again as `.keras`"


def texts(path: Path) -> dict[str, bytes]:
    """Return the root's attributes that are one text each, by name. Raises Damaged."""
    with bytesview.opened(path) as data:
        file = _File(data)
        found: dict[str, bytes] = {}
        for message in file.messages(file.root()):
            name, value = file.attribute(message)
            if name in found:
                raise Damaged(f"it has two attributes `{name[:100]}`")
            if value is not None:
                found[name] = value
        return found


@dataclass(frozen=True, slots=True)
class _File:
    data: mmap.mmap

    def root(self) -> int:
        """Address of the root group's object header."""
        version = self.take(8, 1)[0]
        if self.take(0, 8) != SIGNATURE or version not in (0, 1, 2, 3):
            raise Damaged("it is not an HDF5 file")
        sizes, base, root = (13, 24, 64) if version < 2 else (9, 12, 36)
        shift = 4 if version == 1 else 0
        if self.take(sizes, 2) != b"\x08\x08" or self.number(base + shift, 8) != 0:
            raise Damaged(ELSEWHERE)
        return self.number(root + shift, 8)

    def messages(self, header: int) -> Iterator[bytes]:
        """Yield the attribute messages of an object header and its continuations."""
        old = self.take(header, 1) == b"\x01"
        blocks = [self._first(header) if old else self._first_new(header)]
        seen = 0
        while blocks:
            start, end, tracked = blocks.pop(0)
            at, prefix = start, 8 if old else 4 + 2 * tracked
            while at + prefix <= end:
                seen += 1
                if seen > MAX_MESSAGES:
                    raise Damaged("its root has too many attributes")
                kind, size, flags = self._message(at, old=old)
                body = self.take(at + prefix, size)
                at += prefix + size
                if kind == CONTINUATION:
                    blocks.append(self._continuation(body, tracked=tracked, old=old))
                elif kind == ATTRIBUTE_INFO:
                    self._require_compact(body)
                elif kind == ATTRIBUTE:
                    if flags & 2:
                        raise Damaged(ELSEWHERE)
                    yield body

    def attribute(self, body: bytes) -> tuple[str, bytes | None]:
        """Name of an attribute, and its text when it is one."""
        try:
            version, flags, name_size, type_size, space_size = struct.unpack_from("<BBHHH", body)
        except struct.error:
            raise Damaged("it ends too early") from None
        if version not in (1, 2, 3) or (version > 1 and flags & 3):
            raise Damaged(ELSEWHERE)
        at = 9 if version == 3 else 8
        parts = []
        for size in (name_size, type_size, space_size):
            parts.append(body[at : at + size])
            at += -(-size // 8) * 8 if version == 1 else size
        name = parts[0].split(b"\0")[0].decode("utf-8", "replace")
        return name, self._text(parts[1], body[at:])

    def _text(self, kind: bytes, value: bytes) -> bytes | None:
        if len(kind) < 8:
            raise Damaged("it ends too early")
        size = int.from_bytes(kind[4:8], "little")
        if kind[0] & 15 == FIXED_TEXT:
            return value[:size].rstrip(b"\0")
        if kind[0] & 15 != VARIABLE or kind[1] & 15 != 1:
            return None
        if len(value) < 16:
            raise Damaged("it ends too early")
        length, heap, index = struct.unpack_from("<IQI", value)
        return self._heap(heap, index, length)

    def _heap(self, address: int, wanted: int, length: int) -> bytes:
        """One object of a global heap."""
        if self.take(address, 5) != b"GCOL\x01":
            raise Damaged("a text points outside its heap")
        end = address + self.number(address + 8, 8)
        at = address + 16
        while at + 16 <= end:
            index, size = self.number(at, 2), self.number(at + 8, 8)
            if index == wanted and wanted:
                if length > min(size, limits.MAX_GRAPH):
                    raise Damaged("a text is longer than its place")
                return self.take(at + 16, length)
            if index == 0:
                break
            at += 16 + -(-size // 8) * 8
        raise Damaged("a text points outside its heap")

    def _first(self, header: int) -> tuple[int, int, int]:
        return header + 16, header + 16 + self.number(header + 8, 4), 0

    def _first_new(self, header: int) -> tuple[int, int, int]:
        if self.take(header, 5) != b"OHDR\x02":
            raise Damaged("its root group is missing")
        flags = self.take(header + 5, 1)[0]
        at = header + 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
        width = 1 << (flags & 3)
        size = self.number(at, width)
        return at + width, at + width + size, int(bool(flags & 4))

    def _message(self, at: int, *, old: bool) -> tuple[int, int, int]:
        if old:
            return self.number(at, 2), self.number(at + 2, 2), self.number(at + 4, 1)
        return self.number(at, 1), self.number(at + 1, 2), self.number(at + 3, 1)

    def _continuation(self, body: bytes, *, tracked: int, old: bool) -> tuple[int, int, int]:
        address, length = struct.unpack_from("<QQ", body) if len(body) >= 16 else (UNDEFINED, 0)
        if old:
            return address, address + length, tracked
        if self.take(address, 4) != b"OCHK":
            raise Damaged("its root group is damaged")
        return address + 4, address + length - 4, tracked

    def _require_compact(self, body: bytes) -> None:
        at = 2 + (2 if body[1:2] and body[1] & 1 else 0)
        if body[at : at + 8] != UNDEFINED.to_bytes(8, "little"):
            raise Damaged(ELSEWHERE)

    def number(self, at: int, size: int) -> int:
        """An unsigned little-endian number."""
        return int.from_bytes(self.take(at, size), "little")

    def take(self, at: int, size: int) -> bytes:
        """Bytes of the file. Raises Damaged when it ends before."""
        if at < 0 or size < 0 or at + size > len(self.data):
            raise Damaged("it ends too early")
        return self.data[at : at + size]
