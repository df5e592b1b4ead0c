"""Loads Keras 3 models on whichever of TensorFlow, PyTorch and JAX the runtime has."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

from modelyard_worker import graphs, hdf5, samples, signatures
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import tensorflow

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

BACKENDS = ("tensorflow", "torch", "jax")
DATATYPES: Dict[str, str] = {
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
    "bfloat16": "FP32",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""Keras's element types in OIP's words; numpy has no bfloat16."""


def load(config: Mapping[str, Any]) -> Loaded:
    """Load a `.keras` or `.h5` file; it is not compiled, so losses and optimisers are not needed.

    Prints `Keras device: CPU`, `GPU:0` or `cuda:0`. Raises Failure(SignatureMismatch) when neither the file
    nor the publisher says what it takes, or when they contradict one another, Failure(UnsafeContent) when the
    weights lie in another file of the machine.
    """
    backend = _backend(threads(config))
    library = importlib.import_module("keras")
    device = f"Keras device: {_device(backend)}"
    print(device, flush=True)
    hdf5.require_whole(entry_path(config))
    # The platform read the configuration and refused code in it, unless the project trusts its models fully.
    model = library.saving.load_model(entry_path(config), compile=False, safe_mode=False)
    declared = list(getattr(model, "inputs", None) or ())
    names = [str(each.name).partition(":")[0] for each in declared] or ["input"]
    text = "string" in [str(each.dtype) for each in declared]
    titles = list(getattr(model, "output_names", None) or ())

    def compute(arrays: Arrays) -> Arrays:
        fed = [_fed(arrays[name], as_text=text) for name in names]
        value = model.predict_on_batch(fed if len(fed) > 1 else fed[0])
        if isinstance(value, (list, tuple)) and len(titles) == len(value) == len(set(titles)):
            value = dict(zip(titles, value))
        return graphs.answers(value, lambda each: each)

    own = [_declared(name, each) for name, each in zip(names, declared)] if declared else None
    inputs, given = graphs.inputs_of(published(config), own, names, compute)
    specs, adapt = graphs.outputs_of(given.get("outputs") or ())

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        answer: Arrays = adapt(compute(graphs.fed(tensors, inputs, names)))
        return answer

    samples.warm(predict, inputs, given.get("sample"))
    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device=device,
        info={
            "framework_version": str(library.__version__),
            "algorithm": type(model).__name__,
            "function": config.get("function") or "unknown",
        },
        predict=predict,
    )


def _backend(count: int) -> str:
    """Choose what Keras computes with, and bound its threads."""
    asked = os.environ.get("KERAS_BACKEND", "")
    there = [asked] if asked else [name for name in BACKENDS if importlib.util.find_spec(name) is not None]
    if not there:
        raise Failure(
            "MissingPackage",
            "Keras computes with TensorFlow, PyTorch or JAX, and none of them is in this runtime: "
            "add tensorflow-cpu to the version's requirements or choose another --runtime",
        )
    os.environ["KERAS_BACKEND"] = there[0]
    if there[0] == "tensorflow":
        tensorflow.imported(count)
    elif there[0] == "torch" and count:
        importlib.import_module("torch").set_num_threads(count)
    return there[0]


def _device(backend: str) -> str:
    library = importlib.import_module(backend)
    if backend == "torch":
        return "cuda:0" if library.cuda.is_available() else "CPU"
    if backend == "tensorflow":
        return "GPU:0" if library.config.list_physical_devices("GPU") else "CPU"
    return "CPU" if library.default_backend() == "cpu" else str(library.devices()[0])


def _declared(name: str, value: Any) -> Spec:
    datatype = DATATYPES.get(str(value.dtype))
    if datatype is None:
        raise Failure("ModelLoadFailed", f"input {name} is of type {value.dtype}, which cannot be sent")
    # Keras notes the batch that the model was built with, and takes any.
    shape: List[int] = [-1 if size is None else int(size) for size in value.shape[1:]]
    return signatures.spec(name, datatype, [-1, *shape])


def _fed(array: Any, *, as_text: bool) -> Optional[Any]:
    """An array as Keras takes it; text exists for TensorFlow only."""
    if not as_text or array.dtype.kind != "O":
        return array
    return importlib.import_module("tensorflow").constant(array.tolist(), shape=array.shape)
