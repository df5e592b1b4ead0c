"""Open Inference Protocol v2: writing an inference response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from modelyard.oip.classification import classified
from modelyard.oip.elements import unpack
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.model import Rendered
from modelyard.oip.regions import BYTE_SIZE, OFFSET, REGION, Part, Regions
from modelyard.oip.signature import listed
from modelyard.oip.tensor import Raw, Tensor


@dataclass(frozen=True, slots=True)
class Wish:
    """One output that a client asked for."""

    name: str
    binary: bool
    classes: int = 0
    """So many of its highest values instead of the tensor."""
    labels: tuple[str, ...] = ()
    part: Part | None = None
    """Where in shared memory it goes."""


class Wishes(NamedTuple):
    """How a client wants its answer; without outputs, all of them."""

    identity: str = ""
    default_binary: bool = False
    outputs: tuple[Wish, ...] = ()


def render_response(
    outputs: Sequence[Tensor], *, name: str, version: str, wishes: Wishes, regions: Regions | None = None
) -> Rendered:
    """The response body: JSON, and behind it the tensors asked for as binary data.

    Outputs asked for in shared memory are written there. Raises Rejected when an output asked for is not
    there, has no JSON form, or does not fit into its region.
    """
    documents: list[dict[str, Any]] = []
    binary: list[Raw] = []
    for tensor, wish in _chosen(outputs, wishes):
        if wish.classes:
            tensor = classified(tensor, wish.classes, wish.labels, f'output "{tensor.name}"')
        document: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if wish.part is not None and regions is not None:
            regions.write(wish.part, tensor.data)
            document["parameters"] = _placed(wish.part, len(tensor.data))
        elif wish.binary:
            document["parameters"] = {"binary_data_size": len(tensor.data)}
            binary.append(tensor.data)
        else:
            document["data"] = unpack(tensor, f'output "{tensor.name}"')
        documents.append(document)
    answer: dict[str, Any] = {"model_name": name}
    if version:
        answer["model_version"] = version
    if wishes.identity:
        answer["id"] = wishes.identity
    answer["outputs"] = documents
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return Rendered((head,))
    return Rendered((head, *binary), b"application/octet-stream", len(head))


def _placed(part: Part, size: int) -> dict[str, Any]:
    placed: dict[str, Any] = {REGION: part.region, BYTE_SIZE: size}
    return placed | {OFFSET: part.offset} if part.offset else placed


def _chosen(outputs: Sequence[Tensor], wishes: Wishes) -> list[tuple[Tensor, Wish]]:
    if not wishes.outputs:
        wish = Wish("", wishes.default_binary)
        return [(tensor, wish) for tensor in outputs]
    named = {tensor.name: tensor for tensor in outputs}
    chosen: list[tuple[Tensor, Wish]] = []
    for index, wish in enumerate(wishes.outputs):
        tensor = named.get(wish.name)
        if tensor is None:
            raise Rejected(
                f"outputs[{index}].name",
                f"unknown output {shown(wish.name)}; the model gives {listed(named)}",
            )
        chosen.append((tensor, wish))
    return chosen
