"""The wire format of protobuf, as far as large tensors need it: taken out and put in without a copy."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.oip.tensor import Raw

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """A whole number of 0 or more, seven bits a byte."""
    if value < 128:
        return bytes((value,))
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def tagged(number: int, size: int) -> bytes:
    """What stands in front of a field of bytes."""
    return varint(number << 3 | _BYTES) + varint(size)


def text(number: int, value: str) -> bytes:
    """A field of text; nothing when it is empty."""
    encoded = value.encode()
    return tagged(number, len(encoded)) + encoded if encoded else b""


def taken_out(body: Raw, number: int) -> tuple[bytes, Sequence[memoryview]] | None:
    """The fields of bytes with this number as views, and the rest of the message.

    None when the message is not well-formed: protobuf itself then says what is wrong.
    """
    view = memoryview(body)
    rest: list[memoryview] = []
    found: list[memoryview] = []
    at, kept, end = 0, 0, len(view)
    try:
        while at < end:
            start = at
            tag, at = _read(view, at)
            size = 0
            kind = tag & 7
            if kind == _BYTES:
                size, at = _read(view, at)
            elif kind == _VARINT:
                _, at = _read(view, at)
            else:
                size = {_FIXED64: 8, _FIXED32: 4}[kind]
            after = at + size
            if after > end:
                return None
            if kind == _BYTES and tag >> 3 == number:
                rest.append(view[kept:start])
                found.append(view[at:after])
                kept = after
            at = after
    except (IndexError, KeyError):
        return None
    rest.append(view[kept:])
    return b"".join(rest), found


def _read(view: memoryview, at: int) -> tuple[int, int]:
    """The number at a place, and where it ends; raises IndexError where it does not."""
    value = shift = 0
    while shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise IndexError
