"""The outputs that a client asks for over gRPC: whole, as classes, or in shared memory."""

from __future__ import annotations

from typing import Any

from modelyard.oip.classification import classes_at
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.grpc.inference_pb2 import ModelInferRequest
from modelyard.oip.grpc.parameters import parameters_of
from modelyard.oip.infer_response import Wish
from modelyard.oip.model import ServedModel
from modelyard.oip.regions import Part, Regions, part_at
from modelyard.oip.signature import listed


def wishes_of(message: ModelInferRequest, model: ServedModel, regions: Regions | None) -> tuple[Wish, ...]:
    """What is asked for, checked against the signature and the regions there are; raises Rejected."""
    wishes = tuple(_wish(output, f"outputs[{i}]", model) for i, output in enumerate(message.outputs))
    for wish in wishes:
        if wish.part is not None:
            offered(regions, wish.part).check(wish.part)
    if len({wish.name for wish in wishes}) != len(wishes):
        raise Rejected("outputs", "an output is asked for twice")
    return wishes


def offered(regions: Regions | None, part: Part) -> Regions:
    """The regions; raises Rejected when there are none."""
    if regions is None:
        raise Rejected(part.path, "shared memory is not offered here: send the data in the request")
    return regions


def _wish(output: Any, path: str, model: ServedModel) -> Wish:
    if not output.name:
        raise Rejected(f"{path}.name", 'expected a name, got ""')
    known = model.signature.output_names
    if known and output.name not in known:
        expected = listed(sorted(known))
        raise Rejected(f"{path}.name", f"unknown output {shown(output.name)}; the model gives {expected}")
    if not output.parameters:
        return Wish(output.name, binary=True)
    path = f"{path}.parameters"
    parameters = parameters_of(output.parameters, path)
    classes, part = classes_at(parameters, path), part_at(parameters, path)
    if classes and part is not None:
        raise Rejected(f"{path}.classification", "cannot be combined with shared memory")
    labels = next((spec.columns for spec in model.signature.outputs if spec.name == output.name), ())
    return Wish(output.name, binary=True, classes=classes, labels=labels, part=part)
