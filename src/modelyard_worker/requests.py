"""The forms in which people write example data: named inputs, rows, records and split tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence

import numpy as np

from modelyard_worker.arrays import DTYPES, text_bytes
from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec


def tensors(request: Mapping[str, Any], specs: Sequence[Spec]) -> Arrays:
    """Turn `{"inputs": {name: nested lists}}` or `{"rows": …}` into arrays of the signature's datatypes.

    Without specs the datatypes are those of the values. Raises Failure(SignatureMismatch) that names
    the element, such as `inputs.input[0][2]: expected FP64, got "a"`.
    """
    if isinstance(request.get("inputs"), dict):
        return _named(request["inputs"], specs)
    if "rows" in request:
        return rows(request["rows"], specs)
    raise _mismatch('the request needs "inputs" (name to nested lists) or "rows"')


def rows(value: Any, specs: Sequence[Spec]) -> Arrays:
    """Turn rows, records or a split table (`{"columns": […], "data": [[…]]}`) into arrays."""
    columns: List[str] = []
    if isinstance(value, dict) and "data" in value:
        value, columns = value["data"], list(value.get("columns") or ())
    elif isinstance(value, dict):
        if all(isinstance(item, list) for item in value.values()):
            return _named(value, specs)
        value = [value]
    if not isinstance(value, list) or not value:
        raise _mismatch("rows: expected a list with at least one row")
    if all(isinstance(row, dict) for row in value):
        return _records(value, specs)
    return _table(value, columns, specs)


def array(value: Any, datatype: str, where: str) -> Array:
    """Nested lists as an array of one OIP datatype; null is NaN among floating-point numbers."""
    if datatype == "BYTES":
        return _bytes(value, where)
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise _mismatch(f"{where}: rows differ in length") from error
    dtype = DTYPES[datatype]
    if found.dtype.kind not in _accepted(dtype.kind) and found.size:
        found = _repaired(value, datatype, where)
    return _in_range(found, datatype, where)


def _in_range(found: Array, datatype: str, where: str) -> Array:
    dtype = DTYPES[datatype]
    if dtype.kind in "iu" and found.size:
        limits = np.iinfo(dtype)
        outside = [item for item in (found.min(), found.max()) if not limits.min <= item <= limits.max]
        if outside:
            raise _mismatch(f"{where}: {outside[0]} is out of range for {datatype}")
    with np.errstate(over="ignore"):
        return found.astype(dtype)


def _accepted(kind: str) -> str:
    return {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[kind]


def _repaired(value: Any, datatype: str, where: str) -> Array:
    def walk(item: Any, path: str) -> Any:
        if isinstance(item, list):
            return [walk(inner, f"{path}[{index}]") for index, inner in enumerate(item)]
        return _scalar(item, datatype, path)

    return np.asarray(walk(value, where))


def _scalar(item: Any, datatype: str, where: str) -> Any:
    number = isinstance(item, (int, float)) and not isinstance(item, bool)
    if datatype.startswith("FP") and (number or item is None):
        return np.nan if item is None else item
    if datatype == "BOOL" and isinstance(item, bool):
        return item
    if "INT" in datatype and number and float(item).is_integer():
        return int(item)
    raise _mismatch(f"{where}: expected {datatype}, got {_shown(item)}")


def _shown(item: Any) -> str:
    text = json.dumps(item, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:40] + "…"


def _bytes(value: Any, where: str) -> Array:
    def depth(item: Any) -> int:
        return 1 + depth(item[0]) if isinstance(item, list) and item else int(isinstance(item, list))

    levels, flat, sizes = depth(value), value, []
    for _ in range(levels):
        sizes.append(len(flat))
        flat = flat[0] if flat else []
    items = [value]
    for _ in range(levels):
        items = [inner for item in items for inner in (item if isinstance(item, list) else [item])]
    for index, item in enumerate(items):
        if not isinstance(item, (str, bytes)):
            raise _mismatch(f"{where}[{index}]: expected a string (BYTES), got {_shown(item)}")
    if len(items) != int(np.prod(sizes)):
        raise _mismatch(f"{where}: rows differ in length")
    found: Array = np.empty(len(items), dtype=object)
    found[:] = items
    return text_bytes(found.reshape(sizes))


def _inferred(value: Any, where: str) -> Array:
    flat = value
    while isinstance(flat, list) and flat:
        flat = flat[0]
    if isinstance(flat, str):
        return array(value, "BYTES", where)
    if isinstance(flat, bool):
        return array(value, "BOOL", where)
    try:
        whole = np.asarray(value).dtype.kind in "iu"
    except ValueError:
        whole = False
    return array(value, "INT64" if whole else "FP64", where)


def _named(inputs: Mapping[str, Any], specs: Sequence[Spec]) -> Arrays:
    known = {each["name"]: each for each in specs}
    found: Dict[str, Array] = {}
    for name, value in inputs.items():
        if specs and name not in known:
            raise _mismatch(f"inputs.{name}: unknown; expected {', '.join(known)}")
        where = f"inputs.{name}"
        found[name] = array(value, known[name]["datatype"], where) if specs else _inferred(value, where)
    return found


def _records(records: List[Dict[str, Any]], specs: Sequence[Spec]) -> Arrays:
    names = _columns(specs) or list(records[0])
    for index, record in enumerate(records):
        for name in names:
            if name not in record:
                raise _mismatch(f'rows[{index}]: missing column "{name}"; expected {", ".join(names)}')
        for name in record:
            if name not in names:
                raise _mismatch(f'rows[{index}]: unknown column "{name}"; expected {", ".join(names)}')
    if len(specs) == 1 and specs[0].get("columns"):
        table = [[record[name] for name in names] for record in records]
        return {specs[0]["name"]: array(table, specs[0]["datatype"], "rows")}
    return _named({name: [record[name] for record in records] for name in names}, specs)


def _table(data: Any, columns: List[str], specs: Sequence[Spec]) -> Arrays:
    if columns:
        return _records(
            [dict(zip(columns, _row(row, len(columns), at))) for at, row in enumerate(data)], specs
        )
    if not specs:
        return {"input": _inferred(data, "rows")}
    if len(specs) == 1:
        wanted = specs[0]
        if len(wanted["shape"]) == 2 and not isinstance(data[0], list):
            data = [data]
        for at, row in enumerate(data if len(wanted["shape"]) == 2 else ()):
            _row(row, wanted["shape"][1], at)
        if len(wanted["shape"]) == 1 and all(isinstance(row, list) and len(row) == 1 for row in data):
            data = [row[0] for row in data]
        return {wanted["name"]: array(data, wanted["datatype"], "rows")}
    data = [data] if not isinstance(data[0], list) else data
    names = [each["name"] for each in specs]
    return _records([dict(zip(names, _row(row, len(names), at))) for at, row in enumerate(data)], specs)


def _row(row: Any, size: int, at: int) -> List[Any]:
    if not isinstance(row, list):
        raise _mismatch(f"rows[{at}]: expected a list of {size} values")
    if len(row) != size and size != -1:
        raise _mismatch(f"rows[{at}]: expected {size} columns, got {len(row)}")
    return row


def _columns(specs: Sequence[Spec]) -> List[str]:
    if len(specs) == 1 and specs[0].get("columns"):
        return list(specs[0]["columns"])
    return [each["name"] for each in specs]


def _mismatch(message: str) -> Failure:
    return Failure("SignatureMismatch", message)
