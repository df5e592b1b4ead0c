"""Loads the compiled variant of a model: the same signature, answers and refusals, without its library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping

import numpy as np

from modelyard_worker import signatures
from modelyard_worker.arrays import DTYPES, text
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.guard import Guard
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import onnx
from modelyard_worker.scorer import Scorer

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

ABOUT = "modelyard"
"""Key in a graph's metadata under which stands what the graph itself cannot say."""


def load(config: Mapping[str, Any]) -> Loaded:
    """Open the variant that `serialization` names (onnx or treelite) for the signature in worker.json.

    Raises Failure(ModelLoadFailed) for a variant that does not fit its signature.
    """
    given = published(config)
    inputs, specs = list(given.get("inputs") or ()), list(given.get("outputs") or ())
    kind = str(config.get("serialization"))
    run, about, device = (
        _treelite(config, inputs, specs) if kind == "treelite" else _onnx(config, inputs, specs)
    )
    guard = Guard(inputs, about)

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        signatures.check(inputs, tensors)
        if len(inputs) > 1:
            signatures.same_length(inputs, tensors)
        fed = {each["name"]: _fed(tensors[each["name"]], each["datatype"]) for each in inputs}
        guard.check(fed)
        return run(fed)

    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device=device,
        info={
            "framework_version": str(config.get("framework_version") or ""),
            "algorithm": f"{kind} variant",
            "function": str(config.get("function") or "unknown"),
        },
        predict=predict,
    )


def _fed(array: Array, datatype: str) -> Any:
    dtype = DTYPES[datatype]
    return array if dtype.kind == "O" or array.dtype == dtype else array.astype(dtype)


Run = Callable[[Any], Dict[str, Any]]


def _onnx(
    config: Mapping[str, Any], inputs: List[Spec], specs: List[Spec]
) -> "tuple[Run, Dict[str, Any], str]":
    session = onnx.open_session(config)
    if [each.name for each in session.get_inputs()] != [each["name"] for each in inputs]:
        raise Failure("ModelLoadFailed", "the variant's inputs are not those of the signature; publish again")
    names = [each["name"] for each in specs]
    texts = {each["name"] for each in specs if each["datatype"] == "BYTES"}
    words = [each["name"] for each in inputs if each["datatype"] == "BYTES"]

    def run(fed: Arrays) -> Arrays:
        if words:
            fed = {**fed, **{name: _words(fed[name]) for name in words}}
        answers = session.run(names, fed)
        return {name: _bytes(array) if name in texts else array for name, array in zip(names, answers)}

    about = json.loads(session.get_modelmeta().custom_metadata_map.get(ABOUT) or "{}")
    return run, about, "ONNX Runtime device: CPU"


def _words(array: Array) -> Array:
    words: Array = np.empty(array.size, dtype=object)
    words[:] = text(array)
    return words.reshape(array.shape)


def _bytes(array: Any) -> Array:
    found: Array = np.empty(array.size, dtype=object)
    found[:] = [str(each).encode() for each in array.ravel().tolist()]
    return found.reshape(array.shape)


def _treelite(
    config: Mapping[str, Any], inputs: List[Spec], specs: List[Spec]
) -> "tuple[Run, Dict[str, Any], str]":
    scorer = Scorer(entry_path(config), specs, threads=threads(config))
    names = [each["name"] for each in inputs]
    if len(inputs) == 1 and len(inputs[0]["shape"]) == 2:
        return (lambda fed: scorer.answer(fed[names[0]])), scorer.about, "CPU"
    order = list(scorer.about.get("columns") or names)

    def run(fed: Arrays) -> Arrays:
        return scorer.answer(np.column_stack([fed[name].astype(np.float64) for name in order]))

    return run, scorer.about, "CPU"
