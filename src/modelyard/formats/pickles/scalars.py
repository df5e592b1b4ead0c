"""Instructions that put one plain value on the stack: how each reads its operand."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable

from modelyard.formats import limits
from modelyard.formats.pickles.source import Source
from modelyard.formats.pickles.values import Blob, Malformed, Opaque

Reader = Callable[[Source], object]


def decimal(line: bytes) -> int:
    """Read a memory index of a textual pickle. Raises Malformed unless it is plain digits."""
    if not line.isdigit() or len(line) > 9:
        raise Malformed("a memory index is not a number")
    return int(line)


def text(source: Source, size: int) -> object:
    """Read a UTF-8 text of `size` bytes; one that is too long for a name is kept as a blob."""
    if size > limits.MAX_TEXT:
        raise Malformed(f"a text of {size} bytes is larger than {limits.MAX_TEXT}")
    if size > limits.KEPT_TEXT:
        return source.blob(size)
    return _decoded(source.read(size), "utf-8", "surrogatepass")


def _decoded(data: bytes, encoding: str, errors: str = "strict") -> str:
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError:
        raise Malformed("a text is not valid UTF-8") from None


def _textual_int(source: Source) -> object:
    line = source.line()
    if line in (b"00", b"01"):
        return line == b"01"
    return _number(line.removesuffix(b"L"))


def _number(line: bytes) -> int:
    digits = line.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 400:
        raise Malformed("a whole number cannot be read")
    return int(line)


def _textual_float(source: Source) -> object:
    try:
        return float(source.line())
    except ValueError:
        raise Malformed("a number cannot be read") from None


def _binary_float(source: Source) -> object:
    return struct.unpack(">d", source.read(8))[0]


def _signed(source: Source) -> object:
    return int.from_bytes(source.read(4), "little", signed=True)


def _long(size: int) -> Reader:
    def read(source: Source) -> object:
        count = source.number(size)
        if count > 256:
            return source.blob(count)
        return int.from_bytes(source.read(count), "little", signed=True)

    return read


def _unicode_line(source: Source) -> object:
    return _decoded(source.line(), "raw-unicode-escape")


def _string_line(source: Source) -> object:
    source.line()
    return Opaque("str")


def _string(size: int) -> Reader:
    def read(source: Source) -> object:
        source.blob(source.number(size), keep=0)
        return Opaque("str")

    return read


def _text(size: int) -> Reader:
    return lambda source: text(source, source.number(size))


def _bytes(size: int) -> Reader:
    def read(source: Source) -> Blob:
        return source.blob(source.number(size))

    return read


READERS: dict[int, Reader] = {
    pickle.NONE[0]: lambda _: None,
    pickle.NEWTRUE[0]: lambda _: True,
    pickle.NEWFALSE[0]: lambda _: False,
    pickle.INT[0]: _textual_int,
    pickle.LONG[0]: lambda source: _number(source.line().removesuffix(b"L")),
    pickle.BININT[0]: _signed,
    pickle.BININT1[0]: lambda source: source.number(1),
    pickle.BININT2[0]: lambda source: source.number(2),
    pickle.LONG1[0]: _long(1),
    pickle.LONG4[0]: _long(4),
    pickle.FLOAT[0]: _textual_float,
    pickle.BINFLOAT[0]: _binary_float,
    pickle.STRING[0]: _string_line,
    pickle.BINSTRING[0]: _string(4),
    pickle.SHORT_BINSTRING[0]: _string(1),
    pickle.UNICODE[0]: _unicode_line,
    pickle.SHORT_BINUNICODE[0]: _text(1),
    pickle.BINUNICODE[0]: _text(4),
    pickle.BINUNICODE8[0]: _text(8),
    pickle.SHORT_BINBYTES[0]: _bytes(1),
    pickle.BINBYTES[0]: _bytes(4),
    pickle.BINBYTES8[0]: _bytes(8),
    pickle.BYTEARRAY8[0]: _bytes(8),
}
"""Instruction to the function that reads the value it pushes."""
