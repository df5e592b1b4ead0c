"""The signature, parameters and example that an MLflow package records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.domain.model import Datatype, Signature, TensorSpec
from modelyard.formats import smalljson
from modelyard.formats.bytesview import Damaged

COLUMNS: Mapping[str, Datatype] = {
    "boolean": Datatype.BOOL, "integer": Datatype.INT32, "long": Datatype.INT64, "float": Datatype.FP32,
    "double": Datatype.FP64, "string": Datatype.BYTES, "binary": Datatype.BYTES, "datetime": Datatype.BYTES,
    "object": Datatype.BYTES, "array": Datatype.BYTES, "map": Datatype.BYTES, "any": Datatype.BYTES,
}  # fmt: skip
"""MLflow's column types; times travel as ISO 8601, nested values as JSON."""
TENSORS: Mapping[str, Datatype] = {
    "bool": Datatype.BOOL, "int8": Datatype.INT8, "int16": Datatype.INT16, "int32": Datatype.INT32,
    "int64": Datatype.INT64, "uint8": Datatype.UINT8, "uint16": Datatype.UINT16, "uint32": Datatype.UINT32,
    "uint64": Datatype.UINT64, "float16": Datatype.FP16, "float32": Datatype.FP32, "float64": Datatype.FP64,
    "str": Datatype.BYTES, "object": Datatype.BYTES, "bytes": Datatype.BYTES,
}  # fmt: skip
WRAPPERS = ("dataframe_split", "dataframe_records", "inputs", "instances")
EXAMPLES = ("serving_input_example.json", "input_example.json")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What MLflow wrote down of a model's interface."""

    signature: Signature
    """Inputs and sample; what it answers is found out when it is loaded."""
    params: tuple[str, ...]
    """Names of the parameters that a request may set."""


def read(document: Mapping[str, Any], folder: Path) -> Recorded:
    """Read `signature` of MLmodel and the example in `folder`. Raises Damaged naming the field."""
    said = document.get("signature")
    if said is not None and not isinstance(said, dict):
        raise Damaged("`signature` must be an object")
    inputs = _inputs(_part(said or {}, "inputs"))
    params = [item.get("name") for item in _part(said or {}, "params") if isinstance(item, dict)]
    names = tuple(str(name) for name in params if name)
    return Recorded(Signature(inputs=inputs, sample=_sample(folder, inputs)), names)


def _part(said: Mapping[str, Any], name: str) -> list[Any]:
    text = said.get(name)
    if text is None:
        return []
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        raise Damaged(f"`signature.{name}` is not JSON") from None
    if not isinstance(found, list):
        raise Damaged(f"`signature.{name}` must be the JSON of a list")
    return found


def _inputs(items: list[Any]) -> tuple[TensorSpec, ...]:
    specs = []
    for index, item in enumerate(items):
        where = f"`signature.inputs[{index}]`"
        if not isinstance(item, dict):
            raise Damaged(f"{where} must be an object")
        default = "input" if len(items) == 1 else str(index)
        name = str(item.get("name") or default)
        specs.append(
            _tensor(name, item, where) if item.get("type") == "tensor" else _column(name, item, where)
        )
    return tuple(specs)


def _tensor(name: str, item: Mapping[str, Any], where: str) -> TensorSpec:
    spec = item.get("tensor-spec")
    shape = spec.get("shape") if isinstance(spec, dict) else None
    if (
        not isinstance(spec, dict)
        or not isinstance(shape, list)
        or any(type(size) is not int for size in shape)
    ):
        raise Damaged(f"{where} has no `tensor-spec` with dtype and shape")
    dtype = str(spec.get("dtype"))
    datatype = TENSORS.get(dtype)
    if datatype is None:
        raise Damaged(f"{where} has dtype `{dtype[:40]}`, which no request can carry")
    return TensorSpec(name=name, datatype=datatype, shape=tuple(max(size, -1) for size in shape))


def _column(name: str, item: Mapping[str, Any], where: str) -> TensorSpec:
    datatype = COLUMNS.get(str(item.get("type")).lower())
    if datatype is None:
        raise Damaged(f"{where} has type `{str(item.get('type'))[:40]}`, which is not known")
    return TensorSpec(name=name, datatype=datatype, shape=(-1,))


def _sample(folder: Path, inputs: tuple[TensorSpec, ...]) -> dict[str, list[Any]] | None:
    for name in EXAMPLES:
        if (folder / name).is_file():
            return _first(smalljson.read(folder / name, name), inputs)
    return None


def _first(example: Any, inputs: tuple[TensorSpec, ...]) -> dict[str, list[Any]] | None:
    """The first row of an example in any of MLflow's forms; None for a form that is not known."""
    if isinstance(example, dict):
        return _first_of_mapping(example, inputs)
    if not isinstance(example, list) or not example:
        return None
    if isinstance(example[0], dict):
        return _named(example[0], inputs)
    return {inputs[0].name: example[:1]} if len(inputs) == 1 else {"input": example[:1]}


def _first_of_mapping(example: dict[Any, Any], inputs: tuple[TensorSpec, ...]) -> dict[str, list[Any]] | None:
    wrapped = next((key for key in WRAPPERS if key in example), None)
    if wrapped is not None:
        return _first(example[wrapped], inputs)
    if isinstance(example.get("data"), list):
        rows, columns = example["data"][:1], example.get("columns")
        if not rows or not isinstance(columns, list) or not isinstance(rows[0], list):
            return _first(rows, inputs)
        return _named(dict(zip(map(str, columns), rows[0], strict=False)), inputs)
    if all(isinstance(value, list) and value for value in example.values()):
        return {str(name): value[:1] for name, value in example.items()} or None
    return _named(example, inputs)


def _named(row: Mapping[Any, Any], inputs: tuple[TensorSpec, ...]) -> dict[str, list[Any]]:
    """A row by input; nested values become the JSON text that they travel as."""
    if len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].name not in row:
        return {inputs[0].name: [list(row.values())]}
    names = [spec.name for spec in inputs]
    if names and not set(names) <= {str(key) for key in row} and len(names) == len(row):
        row = dict(zip(names, row.values(), strict=True))
    return {
        str(name): [json.dumps(value) if isinstance(value, dict | list) else value]
        for name, value in row.items()
    }
