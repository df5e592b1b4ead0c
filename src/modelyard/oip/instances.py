"""`instances` and `inputs`, the two forms that KServe V1, TensorFlow Serving, MLflow and Vertex share.

| request                                                        | answer                                  |
|----------------------------------------------------------------|-----------------------------------------|
| `{"instances": [1, [1, 2], {"a": 1}, {"b64": "…"}, …]}`        | one prediction for each instance        |
| `{"inputs": TENSOR}`, `{"inputs": {"name": TENSOR, …}}`        | tensors, as a whole                     |

With one output a prediction is its element or list, with several an object by name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from modelyard.oip.elements import pack_data
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.model import Rendered, ServedModel
from modelyard.oip.rows import Table, table_of
from modelyard.oip.rows_answer import nested, row_cells
from modelyard.oip.rows_tensors import shape_of, tensors_for
from modelyard.oip.signature import Signature, check_given, check_shape, listed
from modelyard.oip.tensor import Tensor

MOST_DEPTH = 64


class Asked(NamedTuple):
    """What a request asks for."""

    inputs: tuple[Tensor, ...]
    rows: int


def read_instances(content: Any, model: ServedModel, path: str) -> Asked:
    """One row for each instance; raises Rejected with the place of the mistake."""
    content = _without_base64(content, path)
    if not isinstance(content, list):
        raise Rejected(path, f"expected a list of instances, got {shown(content)}")
    if content and not any(isinstance(each, (list, dict)) for each in content):
        content = [[each] for each in content]
        return _asked(Table(None, content, path, records=False), model)
    return _asked(table_of(content, path), model)


def read_table(table: Table, model: ServedModel) -> Asked:
    """The rows of a table; raises Rejected."""
    return _asked(table, model)


def read_inputs(content: Any, model: ServedModel, path: str) -> Asked:
    """Whole tensors by name, the one input's tensor, or a table's columns by name; raises Rejected."""
    content = _without_base64(content, path)
    signature = model.signature
    if not isinstance(content, dict):
        if len(signature.inputs) != 1:
            expected = f"expected an object with {listed(signature.input_named)}"
            raise Rejected(path, f"{expected}, got {shown(content)}")
        return _tensors({signature.inputs[0].name: content}, signature, path, bare=True)
    if signature.inputs and set(content) == set(signature.input_named):
        return _tensors(content, signature, path)
    return _asked(_columns(content, path), model)


def render_predictions(outputs: Sequence[Tensor], *, rows: int, envelope: str) -> Rendered:
    """`{"predictions": […]}` with a prediction for each row; NaN and infinity are null. Raises Rejected."""
    columns = [row_cells(tensor, rows) for tensor in outputs]
    if len(columns) == 1:
        predictions: list[Any] = columns[0]
    else:
        names = [tensor.name for tensor in outputs]
        predictions = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return Rendered((orjson.dumps({envelope: predictions}),))


def render_outputs(outputs: Sequence[Tensor], *, envelope: str) -> Rendered:
    """`{"outputs": TENSOR}`, or by name when there are several; raises Rejected for odd text."""
    if len(outputs) == 1:
        return Rendered((orjson.dumps({envelope: nested(outputs[0])}),))
    return Rendered((orjson.dumps({envelope: {tensor.name: nested(tensor) for tensor in outputs}}),))


def _asked(table: Table, model: ServedModel) -> Asked:
    if not table.rows:
        raise Rejected(table.path, "there are no rows to predict")
    inputs = tensors_for(table.columns, table.rows, model.signature, path=table.path, place=table.place)
    check_given(model.signature, inputs, table.path)
    return Asked(inputs, len(table.rows))


def _tensors(content: dict[str, Any], signature: Signature, path: str, *, bare: bool = False) -> Asked:
    tensors: list[Tensor] = []
    for spec in signature.inputs:
        value = content[spec.name]
        where = path if bare else f"{path}.{spec.name}"
        shape = check_shape(shape_of(value), spec, where)
        data = pack_data(value if isinstance(value, list) else [value], spec.datatype, shape, where)
        tensors.append(Tensor(spec.name, spec.datatype, shape, data))
    check_given(signature, tensors, path)
    shape = tensors[0].shape
    return Asked(tuple(tensors), shape[0] if shape else 1)


def _columns(content: dict[str, Any], path: str) -> Table:
    columns = tuple(content)
    if not columns:
        raise Rejected(path, "there are no columns")
    for name, values in content.items():
        if not isinstance(values, list):
            raise Rejected(f"{path}.{name}", f"expected a list of values, got {shown(values)}")
        if len(values) != len(content[columns[0]]):
            message = f"columns must be equally long: {columns[0]} has {len(content[columns[0]])} rows"
            raise Rejected(f"{path}.{name}", f"{message}, this {len(values)}")
    rows = [list(row) for row in zip(*content.values(), strict=True)]
    return Table(columns, rows, path, records=True)


def _without_base64(value: Any, path: str, depth: int = 0) -> Any:
    """The value with each `{"b64": text}` replaced by its bytes."""
    if isinstance(value, dict):
        if value.keys() == {"b64"}:
            return _bytes(value["b64"], f"{path}.b64")
        return {key: _without_base64(each, f"{path}.{key}", depth + 1) for key, each in value.items()}
    if isinstance(value, list) and depth < MOST_DEPTH and _may_hold_objects(value):
        return [_without_base64(each, f"{path}[{at}]", depth + 1) for at, each in enumerate(value)]
    return value


def _may_hold_objects(value: list[Any]) -> bool:
    return any(isinstance(each, (dict, list)) for each in value)


def _bytes(text: Any, path: str) -> bytes:
    if not isinstance(text, str):
        raise Rejected(path, f"expected base64 text, got {shown(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected(path, "is not base64") from None
