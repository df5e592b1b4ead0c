"""ModelInferResponse: written around tensors that stay where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from modelyard.oip.classification import classified
from modelyard.oip.datatypes import BYTES, DTYPES, decode_bytes
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.grpc.inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from modelyard.oip.grpc.wire import tagged, text
from modelyard.oip.infer_response import Wish
from modelyard.oip.model import Events, Query, Rendered
from modelyard.oip.regions import BYTE_SIZE, OFFSET, REGION, Part, Regions
from modelyard.oip.signature import listed
from modelyard.oip.tensor import Raw, Tensor, to_array

CONTENT_TYPE = b"application/grpc"
_IDENTITY, RAW_CONTENTS = 3, 6
_ERROR, _RESPONSE = 1, 2


class Answering(NamedTuple):
    """How a client wants its answer."""

    name: str
    version: str
    identity: str = ""
    outputs: tuple[Wish, ...] = ()
    """Empty is all."""
    typed: bool = False
    """As typed contents instead of raw ones."""


def render_response(
    outputs: Sequence[Tensor], *, answering: Answering, regions: Regions | None = None
) -> Rendered:
    """The message in parts; outputs asked for in shared memory are written there.

    Raises Rejected when an output asked for is not there, has no typed form, or does not fit into its region.
    """
    placed: dict[str, Part] = {}
    chosen = _chosen(outputs, answering.outputs, placed) if answering.outputs else outputs
    identity = text(_IDENTITY, answering.identity)
    if answering.typed and not placed:
        return Rendered((_typed(chosen, answering), identity), CONTENT_TYPE)
    described = tuple((tensor.name, tensor.datatype, tensor.shape) for tensor in chosen)
    if placed and regions is not None:
        return Rendered((_in_regions(chosen, answering, placed, regions), identity), CONTENT_TYPE)
    parts: list[Raw] = [_head(answering.name, answering.version, described) + identity]
    for tensor in chosen:
        parts.append(tagged(RAW_CONTENTS, len(tensor.data)))
        parts.append(tensor.data)
    return Rendered(tuple(parts), CONTENT_TYPE)


@lru_cache(maxsize=1024)
def _head(name: str, version: str, described: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    """Everything but the identity and the tensors' bytes, which differ from answer to answer."""
    return _message(name, version, described).SerializeToString()


def _message(
    name: str, version: str, described: Sequence[tuple[str, str, tuple[int, ...]]]
) -> ModelInferResponse:
    message = ModelInferResponse(model_name=name, model_version=version)
    for output, datatype, shape in described:
        message.outputs.add(name=output, datatype=datatype, shape=shape)
    return message


def _typed(chosen: Sequence[Tensor], answering: Answering) -> bytes:
    described = [(tensor.name, tensor.datatype, tensor.shape) for tensor in chosen]
    message = _message(answering.name, answering.version, described)
    for tensor, output in zip(chosen, message.outputs, strict=True):
        if tensor.datatype == BYTES:
            output.contents.bytes_contents.extend(decode_bytes(memoryview(tensor.data), tensor.elements))
            continue
        field = _field(tensor)
        getattr(output.contents, field).extend(to_array(tensor).ravel().tolist())
    return message.SerializeToString()


def _field(tensor: Tensor) -> str:
    kind, size = DTYPES[tensor.datatype].kind, DTYPES[tensor.datatype].itemsize
    if kind == "f" and size == 2:
        raise Rejected(
            "parameters.typed_contents", f'output "{tensor.name}" is FP16, which has only raw contents'
        )
    names = {"b": "bool_contents", "i": "int_contents", "u": "uint_contents", "f": "fp32_contents"}
    wide = {"i": "int64_contents", "u": "uint64_contents", "f": "fp64_contents"}
    return wide[kind] if size == 8 else names[kind]


def _in_regions(
    chosen: Sequence[Tensor], answering: Answering, placed: Mapping[str, Part], regions: Regions
) -> bytes:
    described = [(tensor.name, tensor.datatype, tensor.shape) for tensor in chosen]
    message = _message(answering.name, answering.version, described)
    for tensor, output in zip(chosen, message.outputs, strict=True):
        part = placed.get(tensor.name)
        # Clients find an output's contents by its place, so one that is elsewhere has empty ones.
        message.raw_output_contents.append(bytes(tensor.data) if part is None else b"")
        if part is not None:
            regions.write(part, tensor.data)
            output.parameters[REGION].string_param = part.region
            output.parameters[BYTE_SIZE].int64_param = len(tensor.data)
            output.parameters[OFFSET].int64_param = part.offset
    return message.SerializeToString()


def _chosen(outputs: Sequence[Tensor], wishes: Sequence[Wish], placed: dict[str, Part]) -> list[Tensor]:
    named = {tensor.name: tensor for tensor in outputs}
    chosen = []
    for index, wish in enumerate(wishes):
        tensor = named.get(wish.name)
        if tensor is None:
            given = listed(named)
            raise Rejected(
                f"outputs[{index}].name", f"unknown output {shown(wish.name)}; the model gives {given}"
            )
        if wish.classes:
            tensor = classified(tensor, wish.classes, wish.labels, f'output "{tensor.name}"')
        if wish.part is not None:
            placed[wish.name] = wish.part
        chosen.append(tensor)
    return chosen


def streamed_response(parts: Sequence[Raw]) -> tuple[Raw, ...]:
    """A ModelStreamInferResponse around the parts of a ModelInferResponse, which is the whole answer."""
    size = sum(map(len, parts)) + len(_FINAL)
    return (tagged(_RESPONSE, size), *parts, _FINAL)


def streamed_error(message: str, identity: str) -> bytes:
    """A ModelStreamInferResponse that says why there is no answer to the request with this id."""
    response: Any = ModelInferResponse(id=identity) if identity else None
    return ModelStreamInferResponse(error_message=message, infer_response=response).SerializeToString()


def streamed_last(identity: str) -> bytes:
    """A ModelStreamInferResponse without outputs, which says that it is the last.

    Behind another one in the same message it adds that to the other's parameters: protobuf merges them.
    """
    return b"".join(streamed_response((text(_IDENTITY, identity),)))


def streamed_events(query: Query, identity: str) -> Events:
    """How a stream answers a query in parts: each a whole ModelStreamInferResponse."""

    def part(outputs: Sequence[Tensor]) -> bytes:
        parts = query.render(outputs).parts
        return b"".join((tagged(_RESPONSE, sum(map(len, parts))), *parts))

    def error(document: Mapping[str, Any]) -> bytes:
        return streamed_error(str(document.get("error")), identity)

    return Events(part, bytes, error)


def _final() -> bytes:
    message = ModelInferResponse()
    message.parameters["triton_final_response"].bool_param = True
    return message.SerializeToString()


_FINAL = _final()
"""Says that no more answers to the same request follow."""
