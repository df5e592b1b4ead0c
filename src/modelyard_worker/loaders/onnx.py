"""Loads ONNX graphs into ONNX Runtime, on a GPU when the runtime and the machine have one."""

from __future__ import annotations

import importlib
import os
import re
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from modelyard_worker import outputs, signatures
from modelyard_worker.arrays import DTYPES, native, normal, text
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

ELEMENTS: Dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}
"""ONNX Runtime's element types in OIP's words."""

ACCELERATED = ("CUDAExecutionProvider", "ROCMExecutionProvider")


def load(config: Mapping[str, Any]) -> Loaded:
    """Open an inference session; weights beside the graph are found there.

    Prints `ONNX Runtime device: CPU` or `… GPU`. Raises Failure(SignatureMismatch) when the publisher's
    signature contradicts the graph.
    """
    library = importlib.import_module("onnxruntime")
    session = open_session(config)
    device = device_of(session)
    given = published(config)
    inputs = [_spec(each) for each in session.get_inputs()]
    if given.get("inputs"):
        inputs = signatures.agree(given["inputs"], inputs, "inputs")
    specs, adapt = outputs.declared(
        given.get("outputs") or (), [_spec(each) for each in session.get_outputs()]
    )
    wanted = [(each.name, DTYPES[_element(each.type)]) for each in session.get_inputs()]
    names = [each.name for each in session.get_outputs()]

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        signatures.check(inputs, tensors)
        answers = session.run(names, {name: _fed(tensors[name], dtype) for name, dtype in wanted})
        answer: Arrays = adapt({name: _answer(value, name) for name, value in zip(names, answers)})
        return answer

    algorithm, function = _kind(session, names)
    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device=device,
        info={"framework_version": library.__version__, "algorithm": algorithm, "function": function},
        predict=predict,
    )


def device_of(session: Any) -> str:
    """Where a session computes; prints it too."""
    device = f"ONNX Runtime device: {'GPU' if session.get_providers()[0] in ACCELERATED else 'CPU'}"
    print(device, flush=True)
    return device


def open_session(config: Mapping[str, Any], path: str = "") -> Any:
    """An inference session on the file that worker.json names, or another, on a GPU where there is one."""
    library = importlib.import_module("onnxruntime")
    options = library.SessionOptions()
    options.log_severity_level = 3
    if threads(config):
        options.intra_op_num_threads = threads(config)
        options.inter_op_num_threads = 1
    available = library.get_available_providers()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")
    chosen = [each for each in ACCELERATED if each in available and visible]
    providers = [*chosen, "CPUExecutionProvider"]
    return library.InferenceSession(path or entry_path(config), sess_options=options, providers=providers)


def _element(declared: str) -> str:
    found = re.search(r"tensor\((\w+)\)", declared)
    if found is None or found.group(1) not in ELEMENTS:
        raise Failure(
            "ModelLoadFailed", f"the graph uses {declared}, which no inference protocol datatype can hold"
        )
    return ELEMENTS[found.group(1)]


def _spec(node: Any) -> Spec:
    if node.type.startswith("seq(map("):
        return signatures.spec(node.name, _element(node.type), [-1, -1])
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in node.shape or ()]
    return signatures.spec(node.name, _element(node.type), shape)


def _fed(array: Array, dtype: Any) -> Any:
    if dtype.kind != "O":
        return array if array.dtype == dtype else array.astype(dtype)
    strings: Array = np.empty(array.size, dtype=object)
    strings[:] = text(array)
    return strings.reshape(array.shape)


def _answer(value: Any, name: str) -> Array:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return np.asarray([[row[key] for key in row] for row in value], dtype=np.float32)
    array = np.asarray(value)
    return native(array) if array.dtype.kind in "biuf" and array.ndim else normal(array, name)


def _kind(session: Any, names: Sequence[str]) -> Tuple[str, str]:
    producer = str(session.get_modelmeta().producer_name or "")
    lowered: List[str] = [name.lower() for name in names]
    if any("label" in name or "probabilit" in name for name in lowered):
        return f"ONNX graph by {producer}" if producer else "ONNX graph", "classification"
    return f"ONNX graph by {producer}" if producer else "ONNX graph", "regression" if lowered == [
        "variable"
    ] else "unknown"
