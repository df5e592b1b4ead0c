"""The rows dialect with files: a form whose fields are the model's inputs.

A file is one element of a BYTES tensor, a text one element of whatever the model declares (BYTES without a
declaration), and a part of type application/json any JSON. A field that is there several times is a batch.
`parameters`, unless the model has such an input, holds the request's parameters as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson

from modelyard.oip.datatypes import BYTES, encode_bytes
from modelyard.oip.document import parameters_at, timeout_at
from modelyard.oip.elements import pack_data
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.model import Query, Rendered, ServedModel
from modelyard.oip.multipart import Part, parse_form
from modelyard.oip.rows_answer import Orientation, render_table
from modelyard.oip.signature import Signature, TensorSpec, check_given, check_shape, spec_for
from modelyard.oip.tensor import Tensor, to_array

PARAMETERS = "parameters"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def is_form(content_type: bytes) -> bool:
    """Whether a request's body is a form."""
    return content_type[:10].lower() == b"multipart/"


def parse_fields(content_type: bytes, body: bytes, model: ServedModel) -> Query:
    """Turn a form into the tensors of the model's signature. Raises Rejected naming the field."""
    fields: dict[str, list[Part]] = {}
    for part in parse_form(content_type, body):
        fields.setdefault(part.name, []).append(part)
    parameters: dict[str, Any] = {}
    if PARAMETERS in fields and PARAMETERS not in model.signature.input_named:
        parameters = parameters_at({PARAMETERS: _json(fields.pop(PARAMETERS)[-1])}, PARAMETERS)
    inputs = tuple(_tensor(name, parts, model.signature) for name, parts in fields.items())
    if not inputs:
        raise Rejected("", "the form has no field to predict from")
    check_given(model.signature, inputs, "form")
    rows = max(tensor.shape[0] for tensor in inputs)
    return Query(
        inputs=inputs,
        render=partial(render_fields, rows=rows),
        parameters=parameters,
        timeout_seconds=timeout_at(parameters, PARAMETERS),
    )


def render_fields(outputs: Sequence[Tensor], *, rows: int) -> Rendered:
    """The answer: `{"rows": […]}`, or `{"outputs": {name: values}}` when some output has no row for each."""
    if all(tensor.shape and tensor.shape[0] == rows for tensor in outputs):
        return render_table(outputs, orientation=Orientation("rows", split=False, daas=False, rows=rows))
    document = {"outputs": {tensor.name: _values(tensor) for tensor in outputs}}
    return Rendered((orjson.dumps(document),))


def _values(tensor: Tensor) -> Any:
    array = to_array(tensor)
    if tensor.datatype != BYTES:
        return array.tolist()
    try:
        flat = [element.decode() for element in array.ravel().tolist()]
    except UnicodeDecodeError:
        message = f'output "{tensor.name}" holds bytes that are not UTF-8: use the infer endpoint'
        raise Rejected("", message) from None
    array.ravel()[:] = flat
    return array.tolist()


def _tensor(name: str, parts: list[Part], signature: Signature) -> Tensor:
    spec = spec_for(signature, name, name)
    if all(part.is_file for part in parts):
        if spec is not None and spec.datatype != BYTES:
            raise Rejected(name, f"expected {spec.datatype}, got a file")
        return Tensor(
            name, BYTES, _batch(name, len(parts), spec), encode_bytes([part.data for part in parts])
        )
    if any(part.is_file for part in parts):
        raise Rejected(name, "it is there as a file and as a value: send it one way")
    if len(parts) == 1 and parts[0].kind == "application/json":
        return _of_json(name, _json(parts[0]), spec)
    values = [_value(part, spec) for part in parts]
    datatype = spec.datatype if spec else _datatype(name, values)
    shape = _batch(name, len(parts), spec)
    return Tensor(name, datatype, shape, pack_data(values, datatype, shape, name))


def _of_json(name: str, value: Any, spec: TensorSpec | None) -> Tensor:
    """A tensor of nested lists, or of one value."""
    if isinstance(value, dict):
        value = orjson.dumps(value).decode()
    nested = value if isinstance(value, list) else [value]
    shape: list[int] = []
    inner: Any = nested
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    if spec is not None and len(shape) < len(spec.shape) and spec.shape[0] in (-1, 1):
        nested, shape = [nested], [1, *shape]
    checked = check_shape(shape, spec, name)
    datatype = spec.datatype if spec else _datatype(name, _leaves(nested))
    return Tensor(name, datatype, checked, pack_data(nested, datatype, checked, name))


def _leaves(nested: Any) -> list[Any]:
    if not isinstance(nested, list):
        return [nested]
    return [leaf for each in nested for leaf in _leaves(each)]


def _batch(name: str, count: int, spec: TensorSpec | None) -> tuple[int, ...]:
    for shape in ((count,), (count, 1)):
        if spec is None or spec.fits(shape):
            return shape
    wanted = list(spec.shape) if spec else []
    raise Rejected(
        name, f"the input has shape {wanted}: send it as application/json, or use the infer endpoint"
    )


def _value(part: Part, spec: TensorSpec | None) -> Any:
    """A text as the element that the model declares."""
    if part.kind == "application/json":
        return _json(part)
    text = _text(part)
    if spec is None or spec.datatype == BYTES:
        return text
    if spec.datatype == "BOOL" and text in ("true", "false"):
        return text == "true"
    if spec.datatype != "BOOL" and _NUMBER.fullmatch(text):
        return orjson.loads(text)
    raise Rejected(part.name, f"expected {spec.datatype}, got {shown(text)}")


def _text(part: Part) -> str:
    try:
        return part.data.decode()
    except UnicodeDecodeError:
        raise Rejected(part.name, "this text is not UTF-8; send it as a file, with a filename") from None


def _json(part: Part) -> Any:
    try:
        return orjson.loads(part.data)
    except orjson.JSONDecodeError as error:
        raise Rejected(part.name, f"this part is not JSON: {error}") from None


def _datatype(name: str, values: list[Any]) -> str:
    kinds = set(map(type, values))
    for datatype, types in (("BOOL", {bool}), ("INT64", {int}), ("FP64", {int, float}), (BYTES, {str})):
        if kinds and kinds <= types:
            return datatype
    raise Rejected(name, "its values are of several types, null or objects: send one type of value")
