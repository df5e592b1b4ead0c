"""Loads TensorFlow SavedModels and answers with their serving signature."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, List, Mapping, Optional

from modelyard_worker import graphs, outputs, samples, signatures
from modelyard_worker.arrays import datatype
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

SERVING = "serving_default"


def load(config: Mapping[str, Any]) -> Loaded:
    """Load the directory of saved_model.pb; its signature `serving_default`, or the only one, answers.

    Prints `TensorFlow device: CPU` or `… GPU:0`. Raises Failure(SignatureMismatch) when the publisher's
    signature contradicts the file.
    """
    library = imported(threads(config))
    device = f"TensorFlow device: {'GPU:0' if library.config.list_physical_devices('GPU') else 'CPU'}"
    print(device, flush=True)
    model = library.saved_model.load(os.path.dirname(entry_path(config)))
    function = _function(model)
    _, wanted = function.structured_input_signature
    own = [_declared(name, each) for name, each in sorted(wanted.items())]
    answered = [_declared(name, each) for name, each in sorted(function.structured_outputs.items())]

    def compute(arrays: Arrays) -> Arrays:
        tensors = {name: library.constant(each, dtype=wanted[name].dtype) for name, each in arrays.items()}
        return graphs.answers(function(**tensors), lambda each: each.numpy())

    inputs, given = graphs.inputs_of(published(config), _whole(own), sorted(wanted), compute)
    specs, adapt = outputs.declared(given.get("outputs") or (), _whole(answered) or ())

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        answer: Arrays = adapt(compute(graphs.fed(tensors, inputs, sorted(wanted))))
        return answer

    samples.warm(predict, inputs, given.get("sample"))
    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device=device,
        info={
            "framework_version": str(library.__version__),
            "algorithm": "SavedModel",
            "function": config.get("function") or "unknown",
            "model": model,  # the function holds its variables only weakly
        },
        predict=predict,
    )


def imported(count: int) -> Any:
    """TensorFlow, told to be quiet and to compute with `count` threads; 0 leaves that to it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    library = importlib.import_module("tensorflow")
    if count:
        library.config.threading.set_intra_op_parallelism_threads(count)
        library.config.threading.set_inter_op_parallelism_threads(1)
    for gpu in library.config.list_physical_devices("GPU"):
        library.config.experimental.set_memory_growth(gpu, True)
    return library


def _function(model: Any) -> Any:
    there = sorted(name for name in model.signatures if not name.startswith("__"))
    if SERVING in there:
        return model.signatures[SERVING]
    if len(there) == 1:
        return model.signatures[there[0]]
    raise Failure(
        "ModelLoadFailed",
        f"the SavedModel has no signature {SERVING}; it has {', '.join(there) or 'none'}: "
        "save it with signatures=function",
    )


def _declared(name: str, value: Any) -> Optional[Spec]:
    """The spec of one tensor; None when the graph leaves its rank open, or has a scalar without a batch."""
    if not value.shape.rank:
        return None
    shape = [-1 if size is None else int(size) for size in value.shape.as_list()]
    numpy = importlib.import_module("numpy")
    return signatures.spec(name, datatype(numpy.empty(0, dtype=value.dtype.as_numpy_dtype)), shape)


def _whole(specs: List[Optional[Spec]]) -> Optional[List[Spec]]:
    known = [each for each in specs if each is not None]
    return known if len(known) == len(specs) else None
