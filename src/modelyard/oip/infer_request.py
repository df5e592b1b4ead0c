"""Open Inference Protocol v2: reading an inference request, JSON with or without binary tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from modelyard.oip.classification import classes_at
from modelyard.oip.content_types import content_type_at, decoded, from_columns
from modelyard.oip.datatypes import BYTES, ITEM_BYTES, NAMES, decode_bytes, encode_bytes
from modelyard.oip.document import flag_at, load_json, name_at, parameters_at, timeout_at
from modelyard.oip.elements import pack_data
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.infer_response import Wish, Wishes, render_response
from modelyard.oip.json_answers import JsonAnswer
from modelyard.oip.model import Query, ServedModel
from modelyard.oip.regions import REGION, Part, Regions, part_at
from modelyard.oip.signature import (
    TensorSpec,
    check_given,
    check_shape,
    compile_signature,
    listed,
    spec_for,
)
from modelyard.oip.tensor import Raw, Tensor

EXPECTED = 'an object such as {"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[1,2,3,4]}]}'


_ANY = compile_signature(None)


@dataclass(slots=True)
class _Tail:
    """Where data that is not JSON comes from: behind it, taken from front to back, or shared memory."""

    rest: memoryview
    regions: Regions | None


def parse_infer(
    body: Raw,
    json_length: int | None,
    model: ServedModel,
    *,
    name: str = "",
    regions: Regions | None = None,
) -> Query:
    """Read a request and check it against the model's signature.

    `json_length` is the value of Inference-Header-Content-Length: None when the header is absent, 0 when the
    whole body is the one input's bytes. `name` is the model name that the client used, `regions` the shared
    memory that tensors may lie in.
    Raises Rejected with the place of the mistake.
    """
    if json_length == 0:
        return _raw_query(body, model, name or model.name)
    tail = _Tail(memoryview(b""), regions)
    if json_length is not None:
        body, tail.rest = _split(body, json_length)
    document = load_json(body, expected=EXPECTED)
    if not isinstance(document, dict):
        raise Rejected("", f"expected {EXPECTED}, got {shown(document)}")
    parameters = parameters_at(document, "parameters")
    content_type = content_type_at(parameters, "parameters") if parameters else ""
    if content_type == "pd":
        columns = _inputs(document.get("inputs"), replace(model, signature=_ANY), tail)
        inputs = from_columns(columns, model.signature)
    else:
        inputs = _inputs(document.get("inputs"), model, tail)
        if content_type:
            inputs = tuple(
                decoded(tensor, content_type, f"inputs[{i}].data") if tensor.datatype == BYTES else tensor
                for i, tensor in enumerate(inputs)
            )
    if tail.rest:
        raise Rejected(
            "inputs", f"unexpected additional input data for model '{model.name}': {len(tail.rest)} bytes"
        )
    wishes = _wishes(document, parameters, model, regions)
    return Query(
        inputs=inputs,
        render=JsonAnswer(name or model.name, model.version, wishes, regions),
        outputs=tuple(wish.name for wish in wishes.outputs),
        parameters=parameters,
        timeout_seconds=timeout_at(parameters, "parameters") if parameters else None,
    )


def _split(body: Raw, json_length: int) -> tuple[memoryview, memoryview]:
    view = memoryview(body)
    if not 0 < json_length <= len(view):
        raise Rejected("", f"inference header size should be in range (0, {len(view)}), got: {json_length}")
    return view[:json_length], view[json_length:]


def _inputs(documents: Any, model: ServedModel, tail: _Tail) -> tuple[Tensor, ...]:
    if documents is None:
        raise Rejected("inputs", "missing: " + EXPECTED)
    if not isinstance(documents, list):
        raise Rejected("inputs", f"expected a list of tensors, got {shown(documents)}")
    inputs = tuple(_input(document, f"inputs[{i}]", model, tail) for i, document in enumerate(documents))
    check_given(model.signature, inputs)
    return inputs


def _input(document: Any, path: str, model: ServedModel, tail: _Tail) -> Tensor:
    if not isinstance(document, dict):
        raise Rejected(path, f"expected an object with name, shape, datatype and data, got {shown(document)}")
    name = name_at(document, path)
    spec = spec_for(model.signature, name, f"{path}.name")
    datatype = _datatype(document.get("datatype"), spec, f"{path}.datatype")
    shape = check_shape(document.get("shape"), spec, f"{path}.shape")
    parameters = parameters_at(document, f"{path}.parameters")
    if not parameters:
        return Tensor(name, datatype, shape, _json_data(document, datatype, shape, path))
    tensor = Tensor(name, datatype, shape, b"")
    tensor = tensor._replace(data=_given_data(document, parameters, tail, tensor, path))
    content_type = content_type_at(parameters, f"{path}.parameters")
    return decoded(tensor, content_type, f"{path}.data") if content_type else tensor


def _given_data(
    document: dict[str, Any], parameters: dict[str, Any], tail: _Tail, tensor: Tensor, path: str
) -> Raw:
    """The bytes of an input with parameters, which may say that they are elsewhere."""
    part = part_at(parameters, f"{path}.parameters")
    size = parameters.get("binary_data_size")
    if part is None and size is None:
        return _json_data(document, tensor.datatype, tensor.shape, path)
    if "data" in document:
        there = REGION if part is not None else "binary_data_size"
        raise Rejected(f"{path}.data", f"must be absent when {there} is given")
    if part is None:
        return _binary_data(tail, size, tensor, path)
    data = _offered(tail.regions, part).read(part)
    check_raw(tensor, memoryview(data), part.path)
    return data


def _offered(regions: Regions | None, part: Part) -> Regions:
    if regions is None:
        raise Rejected(part.path, "shared memory is not offered here: send the data in the request")
    return regions


def _json_data(document: dict[str, Any], datatype: str, shape: tuple[int, ...], path: str) -> bytes:
    if "data" not in document:
        raise Rejected(f"{path}.data", "missing: give the elements here, or binary_data_size and binary data")
    return pack_data(document["data"], datatype, shape, f"{path}.data")


def _datatype(datatype: Any, spec: TensorSpec | None, path: str) -> str:
    if datatype not in NAMES:
        raise Rejected(path, f"expected one of {', '.join(NAMES)}, got {shown(datatype)}")
    if spec is not None and datatype != spec.datatype:
        raise Rejected(path, f"expected {spec.datatype}, got {datatype}")
    return str(datatype)


def _binary_data(tail: _Tail, size: Any, tensor: Tensor, path: str) -> memoryview:
    path = f"{path}.parameters.binary_data_size"
    if type(size) is not int or size < 0:
        raise Rejected(path, f"expected a number of bytes, got {shown(size)}")
    if size > len(tail.rest):
        raise Rejected(
            path,
            f"claims {size} bytes, only {len(tail.rest)} follow the JSON; check the header length",
        )
    data, tail.rest = tail.rest[:size], tail.rest[size:]
    check_raw(tensor, data, path)
    return data


def check_raw(tensor: Tensor, data: memoryview, path: str) -> None:
    """Raise Rejected unless these bytes are exactly the elements that name, datatype and shape promise."""
    if tensor.datatype == BYTES:
        decode_bytes(data, tensor.elements, path)
        return
    expected = tensor.elements * ITEM_BYTES[tensor.datatype]
    if len(data) != expected:
        raise Rejected(
            path, f"unexpected size for input '{tensor.name}', expecting {expected} bytes, got {len(data)}"
        )
    if tensor.datatype == "BOOL" and len(data) and int(np.frombuffer(data, np.uint8).max()) > 1:
        raise Rejected(path, f"BOOL elements of input '{tensor.name}' must be bytes 0 or 1")


def _wishes(
    document: dict[str, Any], parameters: dict[str, Any], model: ServedModel, regions: Regions | None
) -> Wishes:
    default = flag_at(parameters, "binary_data_output", "parameters") if parameters else None
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        raise Rejected("id", f"expected text, got {shown(identity)}")
    outputs = document.get("outputs")
    if outputs is None:
        return Wishes(identity or "", bool(default))
    if not isinstance(outputs, list):
        raise Rejected("outputs", f"expected a list of outputs, got {shown(outputs)}")
    wishes = tuple(_wish(output, f"outputs[{i}]", model, bool(default)) for i, output in enumerate(outputs))
    for wish in wishes:
        if wish.part is not None:
            _offered(regions, wish.part).check(wish.part)
    if len({wish.name for wish in wishes}) != len(wishes):
        raise Rejected("outputs", "an output is asked for twice")
    return Wishes(identity or "", bool(default), wishes)


def _wish(document: Any, path: str, model: ServedModel, default: bool) -> Wish:
    if not isinstance(document, dict):
        raise Rejected(path, f"expected an object with a name, got {shown(document)}")
    name = name_at(document, path)
    known: Mapping[str, Any] | frozenset[str] = model.signature.output_names
    if known and name not in known:
        raise Rejected(
            f"{path}.name", f"unknown output {shown(name)}; the model gives {listed(sorted(known))}"
        )
    parameters = parameters_at(document, f"{path}.parameters")
    if not parameters:
        return Wish(name, default)
    path = f"{path}.parameters"
    binary = flag_at(parameters, "binary_data", path)
    classes, part = classes_at(parameters, path), part_at(parameters, path)
    if classes and part is not None:
        raise Rejected(f"{path}.classification", "cannot be combined with shared memory")
    labels = next((spec.columns for spec in model.signature.outputs if spec.name == name), ())
    return Wish(name, default if binary is None else binary, classes, labels, part)


def _raw_query(body: Raw, model: ServedModel, name: str) -> Query:
    """A body that is nothing but the one input's bytes; its shape follows from its size, a batch of one."""
    if len(model.signature.inputs) != 1:
        count = len(model.signature.inputs)
        raise Rejected(
            "", f"a raw binary request needs a model with one input, this one has {count}: send JSON"
        )
    spec = model.signature.inputs[0]
    if spec.datatype == BYTES:
        tensor = Tensor(spec.name, BYTES, (1,) * max(len(spec.shape), 1), encode_bytes([bytes(body)]))
        if not spec.fits(tensor.shape):
            raise Rejected("", f"a raw binary request cannot fill shape {list(spec.shape)}: send JSON")
    else:
        tensor = Tensor(spec.name, spec.datatype, _deduced(spec, len(body)), memoryview(body))
        check_raw(tensor, memoryview(body), "")
    wishes = Wishes("", default_binary=True)
    return Query((tensor,), partial(render_response, name=name, version=model.version, wishes=wishes))


def _deduced(spec: TensorSpec, size: int) -> tuple[int, ...]:
    # The first dimension is the batch; when it is variable and another one is too, the batch is one.
    shape = list(spec.shape)
    if shape.count(-1) > 1 and shape[0] == -1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise Rejected("", f"shape {list(spec.shape)} cannot be deduced from a raw binary request: send JSON")
    known = prod(length for length in shape if length != -1) * ITEM_BYTES[spec.datatype]
    if -1 in shape:
        shape[shape.index(-1)] = size // known if known else 0
    return tuple(shape)
