"""TensorFlow Serving's REST: what a model is, classification and regression of examples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson

from modelyard.oip.datatypes import BYTES
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.instances import read_instances
from modelyard.oip.model import Query, Rendered, ServedModel
from modelyard.oip.rows_answer import row_cells
from modelyard.oip.signature import TensorSpec
from modelyard.oip.tensor import Tensor
from modelyard.oip.v1 import SIGNATURE, check_signature_name, object_in

EXPECTED = 'an object such as {"examples":[{"a":1,"b":2}]}'
_DTYPES = {
    "BOOL": "DT_BOOL",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    BYTES: "DT_STRING",
}


def version_status(version: str, *, state: str, error: str = "") -> dict[str, Any]:
    """One entry of `model_version_status`; states are START, LOADING, AVAILABLE, UNLOADING and END."""
    code = "UNAVAILABLE" if error else "OK"
    return {
        "version": version,
        "state": state,
        "status": {"error_code": code, "error_message": error},
    }


def metadata(model: ServedModel, name: str) -> dict[str, Any]:
    """The answer of `GET …/metadata`."""
    definition = {
        "inputs": {spec.name: _tensor(spec) for spec in model.signature.inputs},
        "outputs": {spec.name: _tensor(spec) for spec in model.signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: definition}}},
    }


def parse_examples(body: bytes, model: ServedModel, *, classify: bool) -> Query:
    """`examples` for `:classify` and `:regress`, with `context` that all share; raises Rejected."""
    document = object_in(body, EXPECTED)
    check_signature_name(document)
    examples, context = document.get("examples"), document.get("context") or {}
    if not isinstance(context, dict):
        raise Rejected("context", f"expected an object, got {shown(context)}")
    if not isinstance(examples, list):
        raise Rejected("examples", f"expected a list of examples, got {shown(examples)}")
    for index, example in enumerate(examples):
        if not isinstance(example, dict):
            raise Rejected(f"examples[{index}]", f"expected an object of features, got {shown(example)}")
    asked = read_instances([_features({**context, **each}) for each in examples], model, "examples")
    render = _classes if classify else _values
    labels = {spec.name: spec.columns for spec in model.signature.outputs}
    return Query(asked.inputs, partial(render, rows=asked.rows, labels=labels))


def _features(example: dict[str, Any]) -> dict[str, Any]:
    """Features of one element may be written as a list of it."""
    return {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value
        for name, value in example.items()
    }


def _classes(outputs: Sequence[Tensor], *, rows: int, labels: dict[str, tuple[str, ...]]) -> Rendered:
    scores = next((t for t in outputs if len(t.shape) == 2 and t.datatype.startswith("FP")), None)
    if scores is None:
        raise Rejected("", "this model gives no score for each class: use :predict")
    names = labels.get(scores.name) or tuple(str(at) for at in range(scores.shape[1]))
    result = [[list(pair) for pair in zip(names, row, strict=False)] for row in _wide(scores, rows)]
    return Rendered((orjson.dumps({"result": result}),))


def _wide(scores: Tensor, rows: int) -> list[list[Any]]:
    """A row's scores are a list, even of one."""
    cells = row_cells(scores, rows)
    return [cell if isinstance(cell, list) else [cell] for cell in cells]


def _values(outputs: Sequence[Tensor], *, rows: int, labels: dict[str, tuple[str, ...]]) -> Rendered:
    del labels
    if len(outputs) != 1 or not outputs[0].datatype.startswith("FP"):
        raise Rejected("", "this model does not give one number for each example: use :predict")
    result = row_cells(outputs[0], rows)
    if result and isinstance(result[0], list):
        raise Rejected("", "this model gives several numbers for each example: use :predict")
    return Rendered((orjson.dumps({"result": result}),))


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {
        "dtype": _DTYPES.get(spec.datatype, f"DT_{spec.datatype}"),
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in spec.shape],
            "unknown_rank": False,
        },
        "name": f"{spec.name}:0",
    }
