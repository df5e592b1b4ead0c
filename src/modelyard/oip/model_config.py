"""The model configuration extension, as perf_analyzer and Triton's clients read it."""

from __future__ import annotations

from typing import Any

from modelyard.oip.datatypes import BYTES
from modelyard.oip.model import ServedModel
from modelyard.oip.signature import Signature, TensorSpec

_TYPES = {BYTES: "TYPE_STRING"}
UNBOUNDED_BATCH = 1024
"""What a model whose first dimensions are all variable may be sent as one batch; more is not refused."""


def model_configuration(model: ServedModel, name: str) -> dict[str, Any]:
    """The answer of `GET …/config`; `dims` leave the batch dimension out when there is one."""
    batch = _batch_size(model.signature)
    return {
        "name": name,
        "platform": model.platform,
        "backend": "modelyard",
        "runtime": "",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": batch,
        "input": [
            {**_tensor(spec, batched=batch > 0), "format": "FORMAT_NONE"} for spec in model.signature.inputs
        ],
        "output": [
            {**_tensor(spec, batched=batch > 0), "label_filename": ""} for spec in model.signature.outputs
        ],
        "instance_group": [{"name": name, "kind": "KIND_AUTO", "count": 1}],
        "parameters": {},
        "model_transaction_policy": {"decoupled": False},
    }


def _batch_size(signature: Signature) -> int:
    tensors = (*signature.inputs, *signature.outputs)
    batched = bool(signature.inputs) and all(spec.shape[:1] == (-1,) for spec in tensors)
    return UNBOUNDED_BATCH if batched else 0


def _tensor(spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    dims = list(spec.shape[1:] if batched else spec.shape)
    document: dict[str, Any] = {
        "name": spec.name,
        "data_type": _TYPES.get(spec.datatype, f"TYPE_{spec.datatype}"),
        "dims": dims,
    }
    if batched and not dims:
        # A batch of single elements: the protocol has no empty dims, and says so with a reshape.
        document |= {"dims": [1], "reshape": {"shape": []}}
    return document
