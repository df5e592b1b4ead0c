"""Tensor: a named array as it travels, and its conversion from and to numpy."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelyard.oip.datatypes import BYTES, DTYPES, datatype_of, decode_bytes, encode_bytes

Raw = bytes | bytearray | memoryview


class Tensor(NamedTuple):
    """A named array: row-major, little-endian; BYTES elements each with their length in front."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Raw

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return prod(self.shape)


def to_array(tensor: Tensor) -> NDArray[Any]:
    """The tensor as an array of its shape that shares its memory; BYTES becomes an object array of bytes."""
    if tensor.datatype == BYTES:
        return object_array(decode_bytes(memoryview(tensor.data), tensor.elements)).reshape(tensor.shape)
    return np.frombuffer(tensor.data, DTYPES[tensor.datatype]).reshape(tensor.shape)


def from_array(name: str, array: NDArray[Any]) -> Tensor:
    """An array as a tensor; str elements become UTF-8. Raises Rejected for a dtype without a datatype."""
    datatype = datatype_of(array.dtype)
    if datatype == BYTES:
        data = encode_bytes(_as_bytes(element) for element in array.ravel().tolist())
    else:
        data = np.ascontiguousarray(array, DTYPES[datatype]).tobytes()
    return Tensor(name, datatype, tuple(array.shape), data)


def object_array(elements: list[bytes]) -> NDArray[Any]:
    """A one-dimensional object array; numpy's own constructor would guess at strings."""
    array: NDArray[Any] = np.empty(len(elements), object)
    array[:] = elements
    return array


def total_bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes of all tensors' data together."""
    if len(tensors) == 1:
        return len(tensors[0].data)
    return sum(len(tensor.data) for tensor in tensors)


def _as_bytes(element: Any) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode()
