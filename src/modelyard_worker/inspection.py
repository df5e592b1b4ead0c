"""The verb `inspect`: load a model, find out its signature, and prove it by predicting the sample."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

from modelyard_worker import requests, samples, signatures
from modelyard_worker.arrays import jsonable, nested
from modelyard_worker.config import published
from modelyard_worker.failures import Contradiction, Failure
from modelyard_worker.loaders import load
from modelyard_worker.packages import version_mismatch

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Loaded


Announce = Callable[[Dict[str, Any]], None]


def inspect_model(config: Mapping[str, Any], announce: Announce) -> Dict[str, Any]:
    """Answer the signature, what the model is, the device, and the sample's outputs.

    Without a sample a row is made up (zeros, or values that the model has seen) when the inputs allow it.
    When a compiled variant is asked for, `announce` gets the answer before that is tried: should the attempt
    end this process, what is known of the model remains. Raises Failure.
    """
    loaded = load(config)
    found = _inspected(loaded, config)
    if config.get("optimize"):
        announce({**found, "optimization": {"chosen": "", "reason": "", "candidates": []}})
        deciding = importlib.import_module("modelyard_worker.variants.deciding")
        found["optimization"] = jsonable(deciding.optimize(loaded, config, found["signature"]))
    return found


def _inspected(loaded: Loaded, config: Mapping[str, Any]) -> Dict[str, Any]:
    signature, given_signature = dict(loaded.signature), published(config)
    given = signature["sample"]
    sample = given if given is not None else samples.made_up(loaded)
    answer: Optional[Arrays] = None
    if sample is not None:
        tensors = samples.first_row(requests.rows(sample, signature["inputs"]), signature["inputs"])
        answer = _tried(loaded, tensors, config, required=given is not None or samples.certain(signature))
        signature["sample"] = (
            None if answer is None else {name: nested(array) for name, array in tensors.items()}
        )
    if answer is not None:
        signature["outputs"] = _refined(
            signature["outputs"], answer, binding=bool(given_signature.get("outputs"))
        )
    return {
        "signature": jsonable(signature),
        "framework_version": config.get("framework_version") or loaded.info["framework_version"],
        "algorithm": loaded.info["algorithm"],
        "function": _function(config, loaded),
        "task": loaded.info.get("task", ""),
        "device": loaded.device,
        "sample_outputs": None if answer is None else {name: nested(array) for name, array in answer.items()},
    }


def _tried(loaded: Loaded, tensors: Arrays, config: Mapping[str, Any], *, required: bool) -> Optional[Arrays]:
    try:
        return loaded.predict(tensors, {})
    except Contradiction as failure:
        raise Failure("SignatureMismatch", f"signature.{failure.message}") from None
    except Failure as failure:
        made_with = {
            **config,
            "framework_version": config.get("framework_version") or loaded.info["framework_version"],
        }
        if failure.reason == "PredictionFailed":
            mismatch = version_mismatch(made_with, failure.message)
            if mismatch is not None:
                raise mismatch from failure.__cause__
        if required:
            raise
        print(
            f"the made-up row could not be predicted ({failure.message}): publish with a sample",
            file=sys.stderr,
        )
        return None


def _refined(specs: List[Dict[str, Any]], answer: Arrays, *, binding: bool) -> List[Dict[str, Any]]:
    real = [signatures.spec_of(name, array) for name, array in answer.items()]
    if binding:
        return signatures.agree(specs, real, "outputs")
    columns = {each["name"]: each["columns"] for each in specs}
    return [_with_columns(each, columns.get(each["name"]) or []) for each in real]


def _with_columns(spec: Dict[str, Any], columns: List[str]) -> Dict[str, Any]:
    return {**spec, "columns": columns if columns and spec["shape"][-1] == len(columns) else []}


def _function(config: Mapping[str, Any], loaded: Loaded) -> str:
    said = str(config.get("function") or "unknown")
    return said if said != "unknown" else str(loaded.info["function"])
