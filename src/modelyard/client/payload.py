"""From what a user holds (rows, arrays, tables) to a request, and from the answer back to the like."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from modelyard.client.later import Later
from modelyard.domain.errors import FieldError, Invalid

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")

_DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2",
    "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}  # fmt: skip


def is_table(rows: Any) -> bool:
    """A pandas DataFrame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def is_rows(rows: Any) -> bool:
    """A list of records, or one record whose values are scalars or text."""
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], Mapping)


def rows_request(rows: Any) -> dict[str, Any]:
    """The body of `…/predict` for records or a table."""
    if is_table(rows):
        return {"columns": [str(name) for name in rows.columns], "data": rows.to_numpy().tolist()}
    return {"rows": rows}


def tensors_request(rows: Any, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of `…/infer` for arrays, checked against the model's declared inputs, if it declares any."""
    if not inputs:
        named = rows if isinstance(rows, Mapping) else {"input": rows}
        inputs = [{"name": name, "datatype": _datatype(value)} for name, value in named.items()]
    given = rows if isinstance(rows, Mapping) else {_only(inputs): rows}
    declared = {each["name"]: each for each in inputs}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        message = f"the model has no input `{unknown[0]}`; its inputs are {', '.join(declared)}"
        raise Invalid(message, errors=[FieldError(f"rows.{unknown[0]}", message)])
    return {"inputs": [_tensor(name, given[name], declared[name]) for name in given]}


def form(fields: Mapping[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    """The parts of a form: files from paths and bytes, text, and JSON of everything else. Raises Invalid."""
    parts: list[tuple[str, tuple[Any, ...]]] = []
    for name, value in fields.items():
        several = isinstance(value, list) and value and all(isinstance(x, Path | bytes | str) for x in value)
        parts += [(name, _part(name, each)) for each in (value if several else [value])]
    return parts


def _part(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, Path):
        try:
            return (value.name, value.read_bytes(), "application/octet-stream")
        except OSError as error:
            message = f"{value} cannot be read: {error.strerror}"
            raise Invalid(message, errors=[FieldError(f"fields.{name}", message)]) from None
    if isinstance(value, bytes):
        return (name, value, "application/octet-stream")
    if isinstance(value, str):
        return (None, value.encode(), "text/plain; charset=utf-8")
    return (None, encoded(value), "application/json")


def test_request(rows: Any) -> dict[str, Any]:
    """The body of a model test; empty means the recorded sample."""
    if rows is None:
        return {}
    if is_table(rows):
        return {"rows": rows_request(rows)}
    if isinstance(rows, Mapping):
        return {"inputs": {name: np.asarray(value).tolist() for name, value in rows.items()}}
    return {"rows": rows if is_rows(rows) else np.asarray(rows).tolist()}


def raw_test_request(document: Any) -> dict[str, Any]:
    """The body of a model test from JSON: rows, a split table, or a mapping of input name to values."""
    if document is None:
        return {}
    if isinstance(document, dict) and "columns" not in document:
        return document if set(document) <= {"inputs", "rows"} else {"inputs": document}
    return {"rows": document}


def arrays(answer: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of an inference answer as arrays by name; text comes as `str`."""
    return {each["name"]: _array(each) for each in answer["outputs"]}


def table(answer: Mapping[str, Any]) -> Any:
    """A split answer as a DataFrame."""
    return importlib.import_module("pandas").DataFrame(answer["data"], columns=answer["columns"])


def encoded(document: Any) -> bytes:
    """JSON of what users hold; times become ISO 8601, missing values null. Raises Invalid."""
    try:
        return orjson.dumps(document, default=_other, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        message = f"cannot be sent as JSON: {error.__cause__ or error}; send numbers, text, lists and objects"
        raise Invalid(message, errors=[FieldError("rows", message)]) from None


def _only(inputs: list[dict[str, Any]]) -> str:
    if len(inputs) == 1:
        return str(inputs[0]["name"])
    names = ", ".join(str(each["name"]) for each in inputs)
    message = f"the model has several inputs ({names}); give a dict of name to array, a DataFrame or records"
    raise Invalid(message, errors=[FieldError("rows", message)])


def _datatype(value: Any) -> str:
    """The protocol's name for the type that the values have by themselves."""
    dtype = np.asarray(value).dtype
    kinds = {np.dtype(code): name for name, code in _DTYPES.items()}
    return kinds.get(dtype, "BYTES")


def _tensor(name: str, value: Any, declared: Mapping[str, Any]) -> dict[str, Any]:
    datatype = str(declared["datatype"])
    array = _regular(name, value)
    if datatype == "BYTES":
        texts = [each.decode() if isinstance(each, bytes) else str(each) for each in array.ravel().tolist()]
        return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": texts}
    try:
        array = array.astype(_DTYPES[datatype], casting="same_kind" if array.dtype.kind != "O" else "unsafe")
    except (TypeError, ValueError) as error:
        message = f"input `{name}` is {datatype}: {error}"
        raise Invalid(message, errors=[FieldError(f"rows.{name}", message)]) from None
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(array.shape),
        "data": np.ascontiguousarray(array).ravel(),
    }


def _regular(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        message = f"input `{name}` is no regular array: {error}"
        raise Invalid(message, errors=[FieldError(f"rows.{name}", message)]) from None


def _other(value: Any) -> Any:
    """What JSON does not know: missing values of pandas, times, decimals, bytes."""
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError


def _array(output: Mapping[str, Any]) -> np.ndarray:
    datatype = output["datatype"]
    dtype: Any = object if datatype == "BYTES" else _DTYPES[datatype]
    return np.array(output["data"], dtype=dtype).reshape(output["shape"])
