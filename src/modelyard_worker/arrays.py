"""Arrays as the Open Inference Protocol has them: datatypes, text as bytes, and their JSON form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Dict, List

import numpy as np

from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array

DTYPES: Dict[str, Any] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
_NAMES: Dict[str, str] = {dtype.name: name for name, dtype in DTYPES.items()}
_BY_DTYPE: Dict[Any, str] = {dtype: name for name, dtype in DTYPES.items()}
"""As `_NAMES`; numpy takes long to spell a dtype's name."""
_PLAIN = frozenset(_BY_DTYPE) - {np.dtype(object)}


def datatype(array: Array) -> str:
    """OIP name of an array's element type, such as `FP64`; text and bytes are `BYTES`."""
    return _BY_DTYPE.get(array.dtype) or ("BYTES" if array.dtype.kind in "US" else _NAMES[array.dtype.name])


def normal(value: Any, name: str) -> Array:
    """Bring whatever a model returned into an array that can travel.

    Numbers keep their type, text becomes an object array of bytes, a scalar becomes shape [1].
    Raises Failure(PredictionFailed) naming the output for values that no OIP datatype can hold.
    """
    if type(value) is np.ndarray and value.ndim and value.dtype in _PLAIN and value.flags.c_contiguous:
        return value
    return _normalised(value, name)


def _normalised(value: Any, name: str) -> Array:
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
    except ValueError as error:
        raise Failure("PredictionFailed", f"outputs.{name}: rows differ in length ({error})") from error
    if array.ndim == 0:
        array = array.reshape(1)
    if array.dtype.kind == "O":
        array = _settled(array, name)
    if array.dtype.kind in "US":
        return text_bytes(array)
    if array.dtype.kind in "mM":
        return text_bytes(array.astype(str))
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if array.dtype.kind != "O" and array.dtype.newbyteorder("=").name not in _NAMES:
        raise Failure("PredictionFailed", f"outputs.{name}: elements of type {array.dtype} cannot be sent")
    return native(array)


def native(array: Array) -> Array:
    """The array in this machine's byte order and in row-major order."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def text_bytes(array: Array) -> Array:
    """Text as UTF-8: an object array of bytes of the same shape."""
    flat = array.ravel().tolist()
    encoded: Array = np.empty(len(flat), dtype=object)
    encoded[:] = [item if isinstance(item, bytes) else str(item).encode() for item in flat]
    return encoded.reshape(array.shape)


def text(array: Array) -> List[str]:
    """The strings in a BYTES tensor, flattened; bytes that are not UTF-8 are replaced."""
    return [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
        for item in array.ravel().tolist()
    ]


def nested(array: Array) -> List[Any]:
    """The array as nested lists for strict JSON: text decoded, NaN and infinities as null."""
    listed: List[Any] = jsonable(array.tolist())
    return listed


def jsonable(value: Any) -> Any:
    """The same nesting with only what strict JSON has."""
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def _settled(array: Array, name: str) -> Array:
    flat = array.ravel().tolist()
    if all(isinstance(item, (str, bytes)) for item in flat):
        return text_bytes(array)
    try:
        settled = np.asarray([math.nan if item is None else item for item in flat])
    except ValueError:
        settled = array
    if settled.dtype.kind in "biuf" and settled.size == array.size:
        return settled.reshape(array.shape)
    odd = next((item for item in flat if not isinstance(item, (str, bytes))), None)
    raise Failure(
        "PredictionFailed",
        f"outputs.{name}: a {type(odd).__name__} cannot be sent; return numbers, text or bytes",
    )
