"""NVIDIA Triton Inference Server: a model repository of links, and a configuration from the signature."""

from __future__ import annotations

import json

from modelyard.domain.generated.draft import Draft, Subject, asked_at, quoted
from modelyard.domain.model import Datatype, Serialization, TensorSpec

_CONFIG = "config.pbtxt"
_BACKENDS: dict[Serialization, tuple[str, str]] = {
    Serialization.ONNX: ("onnxruntime", "model.onnx"),
    Serialization.TORCHSCRIPT: ("pytorch", "model.pt"),
    Serialization.SAVED_MODEL: ("tensorflow", "model.savedmodel"),
}
_SUFFIXES = (
    (".onnx", ("onnxruntime", "model.onnx")),
    (".plan", ("tensorrt", "model.plan")),
    (".pt", ("pytorch", "model.pt")),
    (".pth", ("pytorch", "model.pt")),
    (".py", ("python", "model.py")),
)
_OTHER = ("tensorflow", "model.savedmodel")
_TYPES = {Datatype.BYTES: "TYPE_STRING"}


def draft(subject: Subject) -> Draft:
    """Ports 8000 (HTTP) and 8001 (gRPC), metrics on 8002."""
    backend, file = _backend(subject)
    name, version = subject.name, subject.version or "1"
    source = quoted("" if file.endswith(".savedmodel") else subject.entry)
    return Draft(
        executable="tritonserver",
        image="nvcr.io/nvidia/tritonserver:25.08-py3",
        command=f"""set -e
models="$MODELYARD_WORK_DIR"/models
mkdir -p "$models"/{name}/{version}
ln -sfn {source} "$models"/{name}/{version}/{file}
cp -f "$MODELYARD_CONFIG_DIR"/{_CONFIG} "$models"/{name}/{_CONFIG}
exec {{{{MODELYARD_PROGRAM}}}} --model-repository="$models" --exit-on-error=true \\
  --http-address={{{{MODELYARD_HOST}}}} --http-port={{{{MODELYARD_PORT}}}} \\
  --grpc-address={{{{MODELYARD_HOST}}}} --grpc-port={{{{MODELYARD_PORT_2}}}} \\
  --metrics-address={{{{MODELYARD_HOST}}}} --metrics-port={{{{MODELYARD_METRICS_PORT}}}}
""",
        ports=(8000, 8001),
        files={_CONFIG: _config(subject, backend)},
        health=asked_at("/v2/health/ready"),
        metrics="8002:/metrics",
    )


def _backend(subject: Subject) -> tuple[str, str]:
    """The backend for the model, and the name that it looks for."""
    if subject.serialization in _BACKENDS:
        return _BACKENDS[subject.serialization]
    return next((found for suffix, found in _SUFFIXES if subject.entry.endswith(suffix)), _OTHER)


def _config(subject: Subject, backend: str) -> str:
    """Inputs and outputs as the signature says; without one Triton finds them itself."""
    lines = [
        f'name: "{subject.name}"',
        f'backend: "{backend}"',
        "max_batch_size: 0",
        f"version_policy: {{ specific: {{ versions: [{subject.version or '1'}] }} }}",
    ]
    lines += _block("input", subject.signature.inputs)
    lines += _block("output", subject.signature.outputs)
    if subject.gpus:
        lines.append("instance_group [ { kind: KIND_GPU } ]")
    if backend == "onnxruntime":
        lines.append('parameters { key: "intra_op_thread_count" value: { string_value: "0" } }')
    return "\n".join(lines) + "\n"


def _block(kind: str, tensors: tuple[TensorSpec, ...]) -> list[str]:
    lines = []
    for tensor in tensors:
        datatype = _TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype.value}")
        dims = ", ".join(map(str, tensor.shape))
        lines.append(f"{kind} [ {{ name: {json.dumps(tensor.name)} data_type: {datatype} dims: [{dims}] }} ]")
    return lines
