"""The element types of tensors, and how their elements lie in bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from modelyard.oip.errors import Rejected

BYTES = "BYTES"

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Datatypes whose elements have one size; BYTES is the one that has none."""

ITEM_BYTES: dict[str, int] = {name: dtype.itemsize for name, dtype in DTYPES.items()}

STRUCT_CODES: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
}
"""How `struct` writes one element; it refuses what is out of range."""

NAMES: tuple[str, ...] = (*DTYPES, BYTES)

_LENGTH = struct.Struct("<I")


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The datatype for a numpy dtype; raises Rejected for one that the protocol has no name for."""
    for name, known in DTYPES.items():
        if dtype == known:
            return name
    if dtype.kind in "OSU":
        return BYTES
    raise Rejected("", f"numpy dtype {dtype} has no datatype here: convert it to one of {', '.join(NAMES)}")


def encode_bytes(elements: Iterable[bytes]) -> bytes:
    """BYTES elements as they travel: each a little-endian 32-bit length and then its bytes."""
    parts: list[bytes] = []
    for element in elements:
        parts.append(_LENGTH.pack(len(element)))
        parts.append(element)
    return b"".join(parts)


def decode_bytes(raw: bytes | memoryview, count: int, path: str = "") -> list[bytes]:
    """The `count` elements of an encoded BYTES tensor; raises Rejected when they do not fill it exactly."""
    view = memoryview(raw)
    elements: list[bytes] = []
    at, end = 0, len(view)
    for index in range(count):
        if at + 4 > end:
            raise Rejected(path, f"holds {index} BYTES elements, expected {count}")
        (size,) = _LENGTH.unpack_from(view, at)
        at += 4
        if at + size > end:
            raise Rejected(path, f"BYTES element {index} claims {size} bytes, only {end - at} are left")
        elements.append(bytes(view[at : at + size]))
        at += size
    if at != end:
        raise Rejected(path, f"{end - at} bytes are left after {count} BYTES elements")
    return elements
