"""KServe V1, TensorFlow Serving's REST and Vertex: predictions in, predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from modelyard.oip.document import load_json, parameters_at, timeout_at
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.instances import read_inputs, read_instances, render_outputs, render_predictions
from modelyard.oip.model import Query, Rendered, ServedModel
from modelyard.oip.rows import parse_rows
from modelyard.oip.signature import listed
from modelyard.oip.tensor import Tensor

EXPECTED = 'an object such as {"instances":[[1,2,3,4]]} or {"inputs":[[1,2,3,4]]}'
SIGNATURE = "serving_default"
"""The one name that a model's signature has for clients of TensorFlow Serving."""


def object_in(body: bytes, expected: str) -> dict[str, Any]:
    """The JSON object in a body; raises Rejected."""
    document = load_json(body, expected=expected)
    if not isinstance(document, dict):
        raise Rejected("", f"expected {expected}, got {shown(document)}")
    return document


def check_signature_name(document: dict[str, Any]) -> None:
    """Raise Rejected when a request asks for another signature than the one there is."""
    name = document.get("signature_name") or SIGNATURE
    if name != SIGNATURE:
        raise Rejected("signature_name", f'expected "{SIGNATURE}", got {shown(name)}')


def parse_predict(body: bytes, model: ServedModel) -> Query:
    """`instances` by row or `inputs` by column; raises Rejected with the place of the mistake."""
    document = object_in(body, EXPECTED)
    check_signature_name(document)
    parameters = parameters_at(document, "parameters")
    timeout = timeout_at(parameters, "parameters")
    if ("instances" in document) == ("inputs" in document):
        raise Rejected("", f"expected {EXPECTED}, with either instances or inputs")
    if "instances" in document:
        asked = read_instances(document["instances"], model, "instances")
        render = partial(render_predictions, rows=asked.rows, envelope="predictions")
        return Query(asked.inputs, render, parameters=parameters, timeout_seconds=timeout)
    asked = read_inputs(document["inputs"], model, "inputs")
    whole = partial(render_outputs, envelope="outputs")
    return Query(asked.inputs, whole, parameters=parameters, timeout_seconds=timeout)


def parse_filtered(body: bytes, model: ServedModel) -> Query:
    """ai-serving v1: `{"X": TABLE, "filter": [outputs]}`, answered `{"result": TABLE}`; raises Rejected."""
    document = object_in(body, 'an object such as {"X":[{"a":1,"b":2}],"filter":["label"]}')
    if "X" not in document:
        raise Rejected("X", 'missing: expected records [{"a":1}] or {"columns":["a"],"data":[[1]]}')
    wanted = document.get("filter") or []
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise Rejected("filter", f"expected a list of outputs, got {shown(wanted)}")
    known = model.signature.output_names
    for index, name in enumerate(wanted):
        if known and name not in known:
            message = f"unknown output {shown(name)}; the model gives {listed(sorted(known))}"
            raise Rejected(f"filter[{index}]", message)
    query = parse_rows(body, model)
    return query._replace(outputs=tuple(wanted), render=partial(_chosen, query, tuple(wanted)))


def _chosen(query: Query, wanted: tuple[str, ...], outputs: Sequence[Tensor]) -> Rendered:
    """Only the outputs asked for; models may give more, and in another order."""
    named = {tensor.name: tensor for tensor in outputs}
    for index, name in enumerate(wanted):
        if name not in named:
            raise Rejected(
                f"filter[{index}]", f"unknown output {shown(name)}; the model gives {listed(named)}"
            )
    return query.render([named[name] for name in wanted] if wanted else outputs)
