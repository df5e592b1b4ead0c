"""Example rows, as people give them, become the sample request of a signature."""

from __future__ import annotations

from typing import Any

from modelyard.domain.model import Signature


def sample_of(signature: Signature, given: Any) -> dict[str, list[Any]] | None:
    """A request with a batch of one: input name to nested lists; None when the example does not fit.

    `given` may be tensors by name, records, lists of values, `{"columns", "data"}`, or one flat row.
    """
    names = [tensor.name for tensor in signature.inputs]
    if isinstance(given, dict) and {"columns", "data"} <= given.keys():
        given = [dict(zip(given["columns"], row, strict=False)) for row in given["data"][:1]]
    if isinstance(given, dict) and names and set(names) <= given.keys():
        return {name: _one(given[name]) for name in names}
    row = _first(given)
    if row is None or not names:
        return None
    return _table(signature, row) if len(names) == 1 else _columns(names, row)


def by_name(given: Any) -> dict[str, list[Any]] | None:
    """An example for a model whose inputs only its own code knows: input name to nested lists."""
    if isinstance(given, dict) and {"columns", "data"} <= given.keys():
        given = [dict(zip(given["columns"], row, strict=False)) for row in given["data"][:1]]
    if isinstance(given, dict) and given and all(isinstance(each, list) for each in given.values()):
        return given
    row = _first(given)
    if isinstance(row, dict):
        return {str(name): [value] for name, value in row.items()}
    return None if row is None else {"input": [row]}


def _first(given: Any) -> Any:
    """The first row of what may be rows or one row."""
    if isinstance(given, list) and given and isinstance(given[0], list | dict):
        return given[0]
    return given or None


def _one(tensor: Any) -> list[Any]:
    return tensor[:1] if isinstance(tensor, list) else [tensor]


def _table(signature: Signature, row: Any) -> dict[str, list[Any]] | None:
    (only,) = signature.inputs
    if isinstance(row, dict):
        if not only.columns or not set(only.columns) <= row.keys():
            return None
        row = [row[column] for column in only.columns]
    return {only.name: [row] if isinstance(row, list) or len(only.shape) == 1 else [[row]]}


def _columns(names: list[str], row: Any) -> dict[str, list[Any]] | None:
    if isinstance(row, list) and len(row) == len(names):
        row = dict(zip(names, row, strict=True))
    if not isinstance(row, dict) or not set(names) <= row.keys():
        return None
    return {name: [row[name]] for name in names}
