"""Arrays inside pickles: how many raw bytes joblib puts behind one, and the elements of small ones."""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass

from modelyard.formats.pickles.machine import Machine
from modelyard.formats.pickles.values import Array, Blob, Global, Instance, Malformed

WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
OLD_WRAPPERS = frozenset({"NDArrayWrapper", "ZNDArrayWrapper"})
WRAPPER_STATE = frozenset(
    {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
)
RECONSTRUCT = frozenset({"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"})
FROM_BUFFER = frozenset({"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"})
SCALAR = frozenset({"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"})
TYPE_CODE = re.compile(r"b1|[iu][1248]|f2|f4|f8|f16|c8|c16|c32|[mM]8|O8?|[SUV][0-9]{1,9}")
"""Codes whose size NumPy reads as it is written; bare letters such as `f` have sizes of their own."""
MAX_BYTES = 2**47
MAX_DEPTH = 8
"""Structures inside structures."""
SMALL = 64 * 1024
"""Bytes of an array whose elements are looked at."""
HAS_OBJECT = 1
"""NumPy's flag in a pickled dtype for elements that are Python objects."""


@dataclass(frozen=True, slots=True)
class Dtype:
    """What is known of a pickled `numpy.dtype`."""

    code: str
    """As NumPy writes it, with byte order, such as `<f8`."""
    size: int
    """Bytes of one element."""
    objects: bool
    """Whether elements hold Python objects."""


def read_joblib_array(machine: Machine, instance: Instance) -> None:
    """When joblib would read an array now, read past its bytes and leave an Array on the stack."""
    if instance.made_by.name in OLD_WRAPPERS:
        raise Malformed(
            "it keeps its arrays in other files, as joblib before 0.10 did; load it and write it again "
            "with joblib.dump"
        )
    if str(instance.made_by) != WRAPPER:
        return
    machine.record.arrays += 1
    dtype, shape = _declared(instance)
    source = machine.source
    if source.framed:
        raise Malformed("an array begins inside a frame")
    machine.pop()
    if dtype.objects:
        inner = Machine(source, machine.record, after_build=_refuse_joblib_array)
        machine.stack.append(as_array(inner.run()) or Array(dtype.code, shape))
        return
    state = instance.state if isinstance(instance.state, dict) else {}
    if state.get("numpy_array_alignment_bytes") is not None:
        source.read(source.byte())
    blob = source.blob(math.prod(shape) * dtype.size, keep=SMALL)
    machine.record.keep(len(blob.head) + 64)
    machine.stack.append(Array(dtype.code, shape, _elements(dtype, blob)))


def as_array(value: object) -> Array | None:
    """Return what is known of an array, or None when `value` is not one that NumPy's own pickling made."""
    if isinstance(value, Array):
        return value
    if not isinstance(value, Instance):
        return None
    try:
        if str(value.made_by) in RECONSTRUCT:
            return _reconstructed(value)
        if str(value.made_by) in FROM_BUFFER and len(value.args) >= 3:
            data, dtype, shape = value.args[:3]
            return _array(dtype, shape, data)
    except Malformed:
        return None
    return None


def as_scalar(value: object) -> object:
    """Return the Python value of a pickled NumPy scalar, or `value` itself when it is not one."""
    if isinstance(value, Instance) and str(value.made_by) in SCALAR and len(value.args) == 2:
        array = _scalar(*value.args)
        return array.values[0] if array is not None and array.values else None
    return value


def read_dtype(value: object, *, depth: int = 0) -> Dtype:
    """Read a pickled dtype. Raises Malformed for one that contradicts itself or is not understood."""
    if depth > MAX_DEPTH:
        raise Malformed("the type of an array's elements is nested too deeply")
    if not (isinstance(value, Instance) and str(value.made_by) == "numpy.dtype" and value.args):
        raise Malformed("the type of an array's elements cannot be read")
    code = value.args[0]
    match = TYPE_CODE.fullmatch(code) if isinstance(code, str) else None
    state = value.state
    if match is None or not isinstance(state, tuple) or len(state) < 8:
        raise Malformed("the type of an array's elements cannot be read")
    kind, digits = match[0][0], int(match[0][1:] or 0)
    order, subtype, names, fields, size, _, flags = state[1:8]
    length = {"U": 4 * digits, "O": 8}.get(kind, digits)
    objects = kind == "O" or _objects_in(fields, length, depth)
    if subtype is not None or not isinstance(flags, int) or bool(flags & HAS_OBJECT) != objects:
        raise Malformed("the type of an array's elements contradicts itself")
    if size != (length if kind in "SUV" else -1) or (names is not None) != (fields is not None):
        raise Malformed("the type of an array's elements contradicts itself")
    prefix = order if order in ("<", ">") else "|"
    return Dtype(f"{prefix}{match[0]}", length, objects)


def _objects_in(fields: object, length: int, depth: int) -> bool:
    if fields is None:
        return False
    if not isinstance(fields, dict) or not fields:
        raise Malformed("the fields of an array's elements cannot be read")
    found = False
    for field in fields.values():
        if not isinstance(field, tuple) or len(field) < 2:
            raise Malformed("the fields of an array's elements cannot be read")
        inner = read_dtype(field[0], depth=depth + 1)
        if type(field[1]) is not int or not 0 <= field[1] <= length - inner.size:
            raise Malformed("a field lies outside its array's elements")
        found = found or inner.objects
    return found


def _declared(instance: Instance) -> tuple[Dtype, tuple[int, ...]]:
    state = instance.state
    if instance.args or not isinstance(state, dict) or not state.keys() <= WRAPPER_STATE:
        raise Malformed("an array is not described as joblib describes it")
    if not isinstance(state.get("subclass"), Global):
        raise Malformed("an array is not described as joblib describes it")
    dtype = read_dtype(state.get("dtype"))
    return dtype, _shape(state.get("shape"), dtype)


def _shape(value: object, dtype: Dtype) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > 32:
        raise Malformed("the shape of an array cannot be read")
    dims = [item for item in value if type(item) is int and 0 <= item < MAX_BYTES]
    nonzero = math.prod(item for item in dims if item)
    if len(dims) != len(value) or nonzero * max(dtype.size, 1) > MAX_BYTES:
        raise Malformed("an array has an impossible shape")
    return tuple(dims)


def _refuse_joblib_array(_: Machine, instance: Instance) -> None:
    if instance.made_by.name in OLD_WRAPPERS or str(instance.made_by) == WRAPPER:
        raise Malformed("an array of joblib's is inside an array of objects")


def _reconstructed(value: Instance) -> Array | None:
    state = value.state
    if not isinstance(state, tuple) or len(state) != 5:
        return None
    _, shape, dtype, _, data = state
    return _array(dtype, shape, data)


def _array(dtype: object, shape: object, data: object) -> Array | None:
    known = read_dtype(dtype)
    dims = _shape(shape, known)
    if isinstance(data, list):
        values = tuple(as_scalar(item) for item in data)
        return Array(known.code, dims, values if len(values) == math.prod(dims) else None)
    data = _bytes(data)
    return Array(known.code, dims, _elements(known, data) if data is not None else None)


def _bytes(data: object) -> Blob | None:
    if isinstance(data, Instance) and str(data.made_by) == "_codecs.encode" and isinstance(data.args[0], str):
        raw = data.args[0].encode("latin1", "replace")
        return Blob(len(raw), raw)
    return data if isinstance(data, Blob) else None


def _scalar(dtype: object, data: object) -> Array | None:
    try:
        return _array(dtype, (1,), data)
    except Malformed:
        return None


def _elements(dtype: Dtype, data: Blob) -> tuple[object, ...] | None:
    if dtype.objects or dtype.code[1] not in "biufSU" or data.length > SMALL or not dtype.size:
        return None
    if data.length % dtype.size or len(data.head) != data.length:
        return None
    try:
        # Imported here: a control plane that reads no pickles does without it.
        numpy = importlib.import_module("numpy")
        return tuple(numpy.frombuffer(data.head, dtype=dtype.code).tolist())
    except (ValueError, TypeError, UnicodeError):
        return None
