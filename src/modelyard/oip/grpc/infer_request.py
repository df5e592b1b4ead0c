"""ModelInferRequest: read, and checked against the model's signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from modelyard.oip.datatypes import BYTES, NAMES, encode_bytes
from modelyard.oip.document import flag_at, timeout_at
from modelyard.oip.elements import pack
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.grpc.answers import GrpcAnswer
from modelyard.oip.grpc.infer_response import Answering
from modelyard.oip.grpc.inference_pb2 import InferTensorContents, ModelInferRequest
from modelyard.oip.grpc.parameters import parameters_of
from modelyard.oip.grpc.wire import taken_out
from modelyard.oip.grpc.wishes import offered, wishes_of
from modelyard.oip.infer_request import check_raw
from modelyard.oip.model import NO_PARAMETERS, Query, ServedModel
from modelyard.oip.regions import REGION, Part, Regions, part_at
from modelyard.oip.signature import TensorSpec, check_given, check_shape, spec_for
from modelyard.oip.tensor import Raw, Tensor

TYPED = "typed_contents"
"""The parameter with which a client asks for typed contents, which few can read."""
RAW_CONTENTS = 7
_LARGE_BYTES = 16384
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""Where the elements of a datatype are, when they are not raw."""


class InferRequest(NamedTuple):
    """A request as it came; `raw` are the tensors' bytes, in the order of inputs."""

    message: ModelInferRequest
    raw: Sequence[Raw]


def read_request(body: Raw) -> InferRequest:
    """Read a message, large tensors as views of it; raises Rejected when it is not a ModelInferRequest."""
    apart = taken_out(body, RAW_CONTENTS) if len(body) > _LARGE_BYTES else None
    try:
        if apart is None:
            message = ModelInferRequest.FromString(bytes(body))
            return InferRequest(message, message.raw_input_contents)
        return InferRequest(ModelInferRequest.FromString(apart[0]), apart[1])
    except DecodeError:
        raise Rejected("", "the message is not an inference.ModelInferRequest") from None


def to_query(request: InferRequest, model: ServedModel, regions: Regions | None = None) -> Query:
    """What to predict, and how to answer; raises Rejected with the place of the mistake.

    `regions` is the shared memory that tensors may lie in.
    """
    message = request.message
    parameters = parameters_of(message.parameters, "parameters") if message.parameters else NO_PARAMETERS
    timeout, typed = None, False
    if parameters:
        timeout = timeout_at(dict(parameters), "parameters")
        typed = bool(flag_at(dict(parameters), TYPED, "parameters"))
        parameters = {name: value for name, value in parameters.items() if name != TYPED}
    wishes = wishes_of(message, model, regions) if message.outputs else ()
    answering = Answering(message.model_name, model.version, message.id, wishes, typed)
    return Query(
        inputs=_inputs(request, model, regions),
        render=GrpcAnswer(answering, regions),
        outputs=tuple(wish.name for wish in wishes),
        parameters=parameters,
        timeout_seconds=timeout,
    )


def _inputs(request: InferRequest, model: ServedModel, regions: Regions | None) -> tuple[Tensor, ...]:
    given, raw = request.message.inputs, list(request.raw)
    parts = [_part(tensor, f"inputs[{index}].parameters") for index, tensor in enumerate(given)]
    expected = parts.count(None)
    if raw and len(raw) != expected:
        raise Rejected(
            "raw_input_contents",
            f"expected one for each of {expected} inputs, got {len(raw)}; they do not mix with typed ones",
        )
    raw.reverse()
    tensors = []
    for index, (tensor, part) in enumerate(zip(given, parts, strict=True)):
        described = _described(tensor, f"inputs[{index}]", model)
        if tensor.HasField("contents") and (raw or part is not None):
            there = "raw_input_contents" if part is None else REGION
            raise Rejected(f"inputs[{index}].contents", f"must be absent when {there} is given")
        if part is not None:
            data: Raw = offered(regions, part).read(part)
            check_raw(described, memoryview(data), part.path)
        elif raw:
            where = f"raw_input_contents[{expected - len(raw)}]"
            data = raw.pop()
            check_raw(described, memoryview(data), where)
        else:
            data = _typed(described, tensor.contents, f"inputs[{index}].contents")
        tensors.append(described._replace(data=data))
    check_given(model.signature, tensors)
    return tuple(tensors)


def _part(tensor: Any, path: str) -> Part | None:
    """Where in shared memory an input is, if it is there."""
    return part_at(parameters_of(tensor.parameters, path), path) if tensor.parameters else None


def _described(tensor: Any, path: str, model: ServedModel) -> Tensor:
    """The tensor without its data."""
    if not tensor.name:
        raise Rejected(f"{path}.name", 'expected a name, got ""')
    spec = spec_for(model.signature, tensor.name, f"{path}.name")
    datatype = _datatype(tensor.datatype, spec, f"{path}.datatype")
    shape = check_shape(list(tensor.shape), spec, f"{path}.shape")
    return Tensor(tensor.name, datatype, shape, b"")


def _datatype(datatype: str, spec: TensorSpec | None, path: str) -> str:
    if datatype not in NAMES:
        raise Rejected(path, f"expected one of {', '.join(NAMES)}, got {shown(datatype)}")
    if spec is not None and datatype != spec.datatype:
        raise Rejected(path, f"expected {spec.datatype}, got {datatype}")
    return datatype


def _typed(tensor: Tensor, contents: InferTensorContents, path: str) -> bytes:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise Rejected(path, f"{tensor.datatype} elements travel in raw_input_contents only")
    strange = [found.name for found, _ in contents.ListFields() if found.name != field]
    if strange:
        raise Rejected(f"{path}.{strange[0]}", f"{tensor.datatype} elements are in {field}")
    elements = getattr(contents, field)
    path = f"{path}.{field}"
    if len(elements) != tensor.elements:
        raise Rejected(
            path, f"expected {tensor.elements} values for shape {list(tensor.shape)}, got {len(elements)}"
        )
    if tensor.datatype == BYTES:
        return encode_bytes(elements)
    return pack(list(elements), tensor.datatype, lambda index: f"{path}[{index}]")
