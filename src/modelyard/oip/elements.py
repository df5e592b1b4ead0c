"""Tensor elements between JSON and bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from modelyard.oip.datatypes import BYTES, DTYPES, STRUCT_CODES, decode_bytes, encode_bytes
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.tensor import Tensor

_FLOAT = frozenset((float, int))
_INT = frozenset((int,))
KINDS: dict[str, frozenset[type]] = {
    "BOOL": frozenset((bool,)),
    "FP32": _FLOAT,
    "FP64": _FLOAT,
    BYTES: frozenset((str, bytes)),
    **{name: _INT for name in STRUCT_CODES if "INT" in name},
}
"""Which types the elements of a datatype may have; JSON itself has no bytes, some dialects write base64."""


def pack_data(data: Any, datatype: str, shape: tuple[int, ...], path: str) -> bytes:
    """The bytes of a tensor given as JSON, nested like its shape or flat.

    Raises Rejected that names the element: `inputs[0].data[3]: expected FP64, got "a"`.
    """
    if not isinstance(data, list):
        raise Rejected(path, f"expected a list of {datatype} elements, got {shown(data)}")
    if data and isinstance(data[0], list):
        flat = _flattened(data, shape, path)
        return pack(flat, datatype, lambda index: path + _subscripts(index, shape))
    if len(data) != prod(shape):
        raise Rejected(path, f"expected {prod(shape)} values for shape {list(shape)}, got {len(data)}")
    return pack(data, datatype, lambda index: f"{path}[{index}]")


def pack(flat: Sequence[Any], datatype: str, place: Callable[[int], str]) -> bytes:
    """The bytes of elements in a row; `place(index)` is an element's path. Raises Rejected."""
    allowed = KINDS.get(datatype)
    if allowed is None:
        raise Rejected(
            place(0), f"{datatype} elements have no exact JSON form: send this tensor as binary data"
        )
    if not set(map(type, flat)) <= allowed:
        flat = _tolerated(flat, datatype, allowed, place)
    if datatype == BYTES:
        return encode_bytes([element if isinstance(element, bytes) else element.encode() for element in flat])
    try:
        return struct.pack(f"<{len(flat)}{STRUCT_CODES[datatype]}", *flat)
    except (struct.error, OverflowError):
        raise _out_of_range(flat, datatype, place) from None


def unpack(tensor: Tensor, path: str) -> Any:
    """The elements of a tensor as orjson can write them, flat.

    Raises Rejected when JSON has no form for an element: bytes that are not UTF-8, NaN and infinity.
    """
    if tensor.datatype == BYTES:
        return _texts(tensor, path)
    code = STRUCT_CODES.get(tensor.datatype)
    values: Any = None
    if code and len(tensor.data) < 1024:
        # For few elements this is quicker than what numpy sets in motion.
        count = len(tensor.data) // DTYPES[tensor.datatype].itemsize
        values = struct.unpack(f"<{count}{code}", tensor.data)
    if values is None or tensor.datatype == "FP32":
        # As numbers of 32 bits they are written with as few digits as those need.
        listed: Any = np.frombuffer(tensor.data, DTYPES[tensor.datatype])
    else:
        listed = values
    floating = tensor.datatype in ("FP16", "FP32", "FP64")
    if floating and not _finite(listed if values is None else values):
        raise Rejected(path, "holds NaN or infinity, which JSON cannot carry: ask for binary output")
    return listed


def _finite(values: Any) -> bool:
    if isinstance(values, tuple):
        # Adding up keeps any NaN or infinity; a sum that overflows is looked at again.
        total = sum(values)
        return total - total == 0 or bool(np.isfinite(values).all())
    return bool(np.isfinite(values).all())


def _texts(tensor: Tensor, path: str) -> list[str]:
    try:
        return [element.decode() for element in decode_bytes(memoryview(tensor.data), tensor.elements, path)]
    except UnicodeDecodeError:
        raise Rejected(
            path, "holds bytes that are not UTF-8, which JSON cannot carry: ask for binary output"
        ) from None


def _flattened(data: list[Any], shape: tuple[int, ...], path: str) -> list[Any]:
    """Check each level of nesting against the shape, and lay the innermost lists end to end."""
    level: list[Any] = [data]
    for depth, size in enumerate(shape):
        for index, part in enumerate(level):
            if not isinstance(part, list):
                where = path + _subscripts(index, shape[:depth])
                raise Rejected(where, f"expected a list of {size} values, got {shown(part)}")
            if len(part) != size:
                where = path + _subscripts(index, shape[:depth])
                raise Rejected(where, f"expected {size} values for shape {list(shape)}, got {len(part)}")
        level = list(chain.from_iterable(level))
    return level


def _subscripts(index: int, shape: Sequence[int]) -> str:
    parts: list[int] = []
    for size in reversed(shape):
        parts.append(index % size)
        index //= size
    return "".join(f"[{part}]" for part in reversed(parts))


def _tolerated(
    flat: Sequence[Any], datatype: str, allowed: frozenset[type], place: Callable[[int], str]
) -> Sequence[Any]:
    """Take 64-bit integers also as strings, because JavaScript has no exact ones; refuse the rest."""
    result: list[Any] = []
    for index, value in enumerate(flat):
        if type(value) in allowed:
            result.append(value)
        elif datatype in ("INT64", "UINT64") and isinstance(value, str) and _is_integer(value):
            result.append(int(value))
        else:
            raise Rejected(place(index), f"expected {datatype}, got {shown(value)}")
    return result


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 20


def _out_of_range(flat: Sequence[Any], datatype: str, place: Callable[[int], str]) -> Rejected:
    for index, value in enumerate(flat):
        try:
            struct.pack(f"<{STRUCT_CODES[datatype]}", value)
        except (struct.error, OverflowError):
            return Rejected(place(index), f"{shown(value)} is out of range for {datatype}")
    return Rejected(place(0), f"is out of range for {datatype}")
