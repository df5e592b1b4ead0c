"""The generate extension: plain values in, plain values out, and answers in parts as events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from modelyard.oip.datatypes import BYTES
from modelyard.oip.document import parameters_at, timeout_at
from modelyard.oip.elements import pack_data
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.model import Events, Query, Rendered, ServedModel, event
from modelyard.oip.rows_answer import nested
from modelyard.oip.rows_tensors import shape_of
from modelyard.oip.signature import TensorSpec, check_given, check_shape, listed
from modelyard.oip.tensor import Tensor
from modelyard.oip.v1 import object_in

EXPECTED = 'an object such as {"text_input":"Hello","parameters":{"max_tokens":20}}'


def parse_generate(body: bytes, model: ServedModel, *, name: str, stream: bool) -> Query:
    """Each input by its name as a value or list; raises Rejected, also for a model without text inputs."""
    document = object_in(body, EXPECTED)
    signature = model.signature
    if all(spec.datatype != BYTES for spec in signature.inputs):
        raise Rejected("", "this model takes no text: use the infer endpoint")
    identity = document.get("id") or ""
    if not isinstance(identity, str):
        raise Rejected("id", f"expected text, got {shown(identity)}")
    unknown = [key for key in document if key not in {*signature.input_named, "id", "parameters", "stream"}]
    if unknown:
        takes = listed(signature.input_named)
        raise Rejected(unknown[0], f"unknown input; the model takes {takes}, and options go into parameters")
    inputs = tuple(_input(spec, document) for spec in signature.inputs)
    check_given(signature, inputs, "")
    parameters = parameters_at(document, "parameters")
    about = {**({"id": identity} if identity else {}), "model_name": name, "model_version": model.version}
    return Query(
        inputs,
        partial(_render, about=about),
        parameters=parameters,
        timeout_seconds=timeout_at(parameters, "parameters"),
        events=_events(about) if stream else None,
    )


def one_text(spec: TensorSpec, texts: Sequence[bytes]) -> Tensor:
    """Texts as the tensor of an input of shape [n] or [n,1]; raises Rejected when it has another shape."""
    for shape in ((len(texts),), (len(texts), 1), (1, len(texts))):
        if spec.fits(shape):
            return Tensor(spec.name, BYTES, shape, pack_data(list(texts), BYTES, shape, spec.name))
    if len(texts) == 1 and spec.fits(()):
        return Tensor(spec.name, BYTES, (), pack_data(list(texts), BYTES, (), spec.name))
    message = f"input of shape {list(spec.shape)} does not take {len(texts)} texts: use the infer endpoint"
    raise Rejected(spec.name, message)


def _input(spec: TensorSpec, document: Mapping[str, Any]) -> Tensor:
    if spec.name not in document:
        raise Rejected(spec.name, "missing: give the input's value here")
    value = document[spec.name]
    if isinstance(value, str) and spec.datatype == BYTES:
        return one_text(spec, [value.encode()])
    values = value if isinstance(value, list) else [value]
    shape = shape_of(values)
    if not spec.fits(shape) and spec.fits((1, *shape)):
        shape = [1, *shape]
    shape = list(check_shape(shape, spec, spec.name))
    flat = values if len(shape) == len(shape_of(values)) else [values]
    data = pack_data(flat, spec.datatype, tuple(shape), spec.name)
    return Tensor(spec.name, spec.datatype, tuple(shape), data)


def _answer(outputs: Sequence[Tensor], about: Mapping[str, Any]) -> bytes:
    return orjson.dumps({**about, **{tensor.name: _value(tensor) for tensor in outputs}})


def _value(tensor: Tensor) -> Any:
    """One element as it is, several as a list."""
    values = nested(tensor._replace(shape=(tensor.elements,)))
    return values[0] if len(values) == 1 else values


def _render(outputs: Sequence[Tensor], *, about: Mapping[str, Any]) -> Rendered:
    return Rendered((_answer(outputs, about),))


def _events(about: Mapping[str, Any]) -> Events:
    return Events(
        part=lambda outputs: event(_answer(outputs, about)),
        last=lambda: b"",
        error=lambda document: event(orjson.dumps(document)),
    )
