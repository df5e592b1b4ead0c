"""ONNX files, with their tensors inside or beside them."""

from __future__ import annotations

import os
from pathlib import Path

from modelyard.domain.model import Datatype, Format, Function, Serialization, Signature, TensorSpec
from modelyard.formats import bytesview, onnx_graph
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected
from modelyard.formats.onnx_graph import ExternalTensor, Graph, Port

DATATYPES = {
    1: Datatype.FP32, 2: Datatype.UINT8, 3: Datatype.INT8, 4: Datatype.UINT16, 5: Datatype.INT16, 6:
    Datatype.INT32,
    7: Datatype.INT64, 8: Datatype.BYTES, 9: Datatype.BOOL, 10: Datatype.FP16, 11: Datatype.FP64,
    12: Datatype.UINT32, 13: Datatype.UINT64,
}  # fmt: skip
STANDARD = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft"}
)
"""Domains whose operators ONNX Runtime brings along."""
MAX_NAMED = 5


def read(directory: Path, entry: str) -> Detected:
    """Read an ONNX model and check its external data. Raises Damaged."""
    path = directory / entry
    with bytesview.opened(path) as data:
        graph = onnx_graph.read(data)
    for tensor in graph.external:
        _check_external(directory, path.parent, tensor)
    return Detected(
        format=Format.ONNX,
        serialization=Serialization.ONNX,
        entry=entry,
        algorithm=_algorithm(graph),
        function=_function(graph),
        signature=_signature(graph),
        notes=(_summary(graph),),
        warnings=_warnings(graph),
    )


def _check_external(directory: Path, beside: Path, tensor: ExternalTensor) -> None:
    location = tensor.location
    parts = location.replace("\\", "/").split("/")
    if not location or location.startswith(("/", "\\")) or ".." in parts or "\0" in location:
        raise Damaged(
            f"tensor `{tensor.name}` lies in `{location}`, which is not a path inside the model's directory"
        )
    target = beside / location
    if not os.path.realpath(target).startswith(os.path.realpath(directory) + os.sep):
        raise Damaged(f"tensor `{tensor.name}` lies in `{location}`, which is outside the model's directory")
    if not target.is_file():
        raise Damaged(f"its external data file `{location}` is missing; publish the whole directory")
    size = target.stat().st_size
    if tensor.offset + tensor.length > size:
        raise Damaged(
            f"its external data file `{location}` has {size} bytes, and tensor `{tensor.name}` "
            f"ends at {tensor.offset + tensor.length}: it is truncated"
        )


def _signature(graph: Graph) -> Signature | None:
    inputs = [_tensor(port) for port in graph.inputs if port.name not in graph.initializers]
    outputs = [_tensor(port) for port in graph.outputs]
    if any(spec is None for spec in inputs) or any(spec is None for spec in outputs):
        return None
    return Signature(
        inputs=tuple(spec for spec in inputs if spec), outputs=tuple(spec for spec in outputs if spec)
    )


def _tensor(port: Port) -> TensorSpec | None:
    datatype = DATATYPES.get(port.element)
    if datatype is None or port.shape is None:
        return None
    return TensorSpec(name=port.name, datatype=datatype, shape=port.shape)


def _algorithm(graph: Graph) -> str:
    learned = [
        name
        for (domain, name) in graph.operators
        if domain == "ai.onnx.ml" and name.endswith(("ifier", "ressor"))
    ]
    return learned[0] if learned else (graph.name[:100] or "graph")


def _function(graph: Graph) -> Function:
    names = [name for (domain, name) in graph.operators if domain == "ai.onnx.ml"]
    if any(name.endswith("Classifier") for name in names):
        return Function.CLASSIFICATION
    if any(name.endswith("Regressor") for name in names):
        return Function.REGRESSION
    return Function.UNKNOWN


def _summary(graph: Graph) -> str:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(graph.opsets.items()))
    made_by = f", made by {graph.producer} {graph.producer_version}".rstrip() if graph.producer else ""
    return f"ONNX IR {graph.ir_version}, operator sets {opsets}{made_by}"


def _warnings(graph: Graph) -> tuple[str, ...]:
    custom = [
        f"{domain}.{name}"
        for domain, name in sorted(graph.operators)
        if domain not in STANDARD and (domain, name) not in graph.functions
    ]
    if not custom:
        return ()
    shown = ", ".join(custom[:MAX_NAMED])
    return (f"it needs operators that ONNX Runtime does not have: {shown}; the runtime must bring them",)
