"""From rows to the tensors of a signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from math import nan
from typing import Any

from modelyard.oip.datatypes import BYTES
from modelyard.oip.elements import pack, pack_data
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.signature import Signature, TensorSpec, check_shape, listed
from modelyard.oip.tensor import Tensor

Place = Callable[[int, int], str]
"""The path of the cell at a row and column."""


def tensors_for(
    columns: tuple[str, ...] | None, rows: list[list[Any]], signature: Signature, *, path: str, place: Place
) -> tuple[Tensor, ...]:
    """The tensors that rows stand for; `columns` is None for rows without names.

    One two-dimensional input takes the whole table; otherwise each column is an input. Raises Rejected.
    """
    inputs = signature.inputs
    if not inputs:
        return _guessed(columns, rows, path, place)
    if (
        len(inputs) == 1
        and len(inputs[0].shape) > 1
        and (columns is None or set(columns) != {inputs[0].name})
    ):
        return (_whole(inputs[0], columns, rows, path, place),)
    names = tuple(spec.name for spec in inputs)
    order = _order(columns, names, rows, path)
    return tuple(
        _column(spec, [row[at] for row in rows], at, path, place)
        for spec, at in zip(inputs, order, strict=True)
    )


def _whole(
    spec: TensorSpec, columns: tuple[str, ...] | None, rows: list[list[Any]], path: str, place: Place
) -> Tensor:
    if columns is None and len(spec.shape) > 2:
        shape = check_shape(shape_of(rows), spec, path)
        return Tensor(spec.name, spec.datatype, shape, pack_data(rows, spec.datatype, shape, path))
    if columns is not None and not spec.columns:
        raise Rejected(path, f'the input "{spec.name}" has no column names: send rows as lists of values')
    order: Sequence[int]
    if spec.columns:
        order = _order(columns, spec.columns, rows, path)
    else:
        width = spec.shape[1] if spec.shape[1] != -1 else len(rows[0])
        _check_width(rows, width, path)
        order = range(width)
    if columns is None or tuple(order) == tuple(range(len(columns))):
        flat = list(chain.from_iterable(rows))
    else:
        flat = [row[at] for row in rows for at in order]
    width = len(order)
    data = _pack_cells(flat, spec.datatype, lambda index: place(index // width, order[index % width]))
    shape = (len(rows), width)
    if not spec.fits(shape):
        raise Rejected(path, f"expected shape {list(spec.shape)} (-1 is any size), got {list(shape)}")
    return Tensor(spec.name, spec.datatype, shape, data)


def _column(spec: TensorSpec, values: list[Any], at: int, path: str, place: Place) -> Tensor:
    if isinstance(values[0], list):
        where = place(0, at)
        shape = check_shape(shape_of(values), spec, where)
        return Tensor(
            spec.name, spec.datatype, shape, pack_data(values, spec.datatype, shape, f"{path}[*].{spec.name}")
        )
    data = _pack_cells(values, spec.datatype, lambda index: place(index, at))
    for shape in ((len(values),), (len(values), 1)):
        if spec.fits(shape):
            return Tensor(spec.name, spec.datatype, shape, data)
    raise Rejected(
        place(0, at), f'input "{spec.name}" has shape {list(spec.shape)}: send each value as nested lists'
    )


def _order(
    columns: tuple[str, ...] | None, wanted: tuple[str, ...], rows: list[list[Any]], path: str
) -> Sequence[int]:
    """Where each wanted column is in a row."""
    if columns is None:
        _check_width(rows, len(wanted), path)
        return range(len(wanted))
    if columns == wanted:
        return range(len(wanted))
    found = {name: at for at, name in enumerate(columns)}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise Rejected(path, f"missing column {listed(missing)}; the model takes {listed(wanted)}")
    unknown = [name for name in columns if name not in set(wanted)]
    if unknown:
        raise Rejected(path, f"unknown column {listed(unknown)}; the model takes {listed(wanted)}")
    return [found[name] for name in wanted]


def _check_width(rows: list[list[Any]], width: int, path: str) -> None:
    for index, row in enumerate(rows):
        if len(row) != width:
            raise Rejected(f"{path}[{index}]", f"expected {width} values, got {len(row)}")


def _pack_cells(values: list[Any], datatype: str, place: Callable[[int], str]) -> bytes:
    """`pack` for cells of tables: null is NaN, whole floats are integers, booleans are numbers."""
    kinds = set(map(type, values))
    if datatype in ("FP32", "FP64") and kinds & {type(None), bool}:
        values = [
            nan if value is None else int(value) if isinstance(value, bool) else value for value in values
        ]
    elif "INT" in datatype and kinds & {float, bool}:
        values = [int(value) if _is_whole(value) else value for value in values]
    return pack(values, datatype, place)


def _is_whole(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, float) and value.is_integer() and abs(value) < 2**53)


def shape_of(nested: Any) -> list[int]:
    """The shape that nested lists have along their first elements."""
    shape: list[int] = []
    while isinstance(nested, list):
        shape.append(len(nested))
        nested = nested[0] if nested else None
    return shape


def _guessed(
    columns: tuple[str, ...] | None, rows: list[list[Any]], path: str, place: Place
) -> tuple[Tensor, ...]:
    """Tensors for a model that does not say what it takes: by column when named, else one matrix."""
    if not rows[0]:
        raise Rejected(path, "the rows have no columns")
    if columns is None:
        _check_width(rows, len(rows[0]), path)
        flat = list(chain.from_iterable(rows))
        width = len(rows[0])
        data = _pack_cells(flat, "FP64", lambda index: place(index // width, index % width))
        return (Tensor("input", "FP64", (len(rows), width), data),)
    tensors: list[Tensor] = []
    for at, name in enumerate(columns):
        values = [row[at] for row in rows]
        spec = TensorSpec(name, _datatype_of(values, place(0, at)), (-1,))
        tensors.append(_column(spec, values, at, path, place))
    return tuple(tensors)


def _datatype_of(values: list[Any], path: str) -> str:
    kinds = set(map(type, values)) - {type(None)}
    for datatype, types in (
        ("BOOL", {bool}),
        ("INT64", {int}),
        ("FP64", {int, float}),
        (BYTES, {str, bytes}),
    ):
        if kinds <= types and (datatype in ("FP64", BYTES) or None not in values):
            return datatype
    raise Rejected(
        path, f"this column mixes types or nests, such as {shown(values[0])}: use the infer endpoint"
    )
