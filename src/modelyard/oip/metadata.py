"""Open Inference Protocol v2: what a server says about itself and its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from modelyard.oip.model import ServedModel
from modelyard.oip.signature import TensorSpec

EXTENSIONS = (
    "classification",
    "model_repository",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "generate",
)
"""What `GET /v2` promises; `sequence`, `schedule_policy`, `trace` and `logging` are not offered."""


def server_metadata(name: str, version: str, *, shared_memory: bool) -> dict[str, Any]:
    """The answer of `GET /v2`."""
    extensions = [each for each in EXTENSIONS if shared_memory or each != "system_shared_memory"]
    return {"name": name, "version": version, "extensions": extensions}


def model_metadata(model: ServedModel, name: str, versions: Sequence[str]) -> dict[str, Any]:
    """The answer of `GET /v2/models/NAME`; the batch dimension is part of every shape."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": model.platform,
        "inputs": [_tensor(spec) for spec in model.signature.inputs],
        "outputs": [_tensor(spec) for spec in model.signature.outputs],
    }


def repository_entry(model: ServedModel, *, state: str, reason: str) -> dict[str, str]:
    """One entry of the answer of `POST /v2/repository/index`."""
    entry = {"name": model.name, "version": model.version, "state": state}
    if reason:
        entry["reason"] = reason
    return entry


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    document: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
    if spec.columns:
        document["parameters"] = {"columns": orjson.dumps(spec.columns).decode()}
    return document
