"""From a vector for each token to one for each text, as the directory's modules say."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Tuple

import numpy as np

from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array

MODES = {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean"}


def embedder(home: str) -> "Callable[[Array, Array], Array]":
    """A function from hidden states ([n, tokens, d] or, already pooled, [n, d]) and mask to FP32 [n, d].

    Without `modules.json` the mean of the tokens is taken and not normalised.
    """
    modes, normalised = _modules(home)

    def embed(hidden: Array, mask: Array) -> Array:
        found = np.asarray(hidden, np.float32)
        if found.ndim == 3:
            found = np.concatenate([_pooled(found, mask, mode) for mode in modes], axis=1)
        if found.ndim != 2:
            raise Failure(
                "ModelLoadFailed", f"the model answers {list(found.shape)}, not a vector for each token"
            )
        if normalised:
            found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return np.ascontiguousarray(found, np.float32)

    return embed


def _pooled(hidden: Any, mask: Any, mode: str) -> Array:
    weights = np.asarray(mask, np.float32)[:, :, None]
    found: Array
    if mode == "cls":
        found = hidden[np.arange(len(hidden)), np.asarray(mask).argmax(axis=1)]
    elif mode == "max":
        found = np.where(weights > 0, hidden, -1e9).max(axis=1)
    else:
        found = (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
    return found


def _modules(home: str) -> Tuple[List[str], bool]:
    for directory in (home, os.path.dirname(home)):
        path = os.path.join(directory, "modules.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                modules = json.load(file)
            kinds = {str(each["type"]).rpartition(".")[2]: each for each in modules}
            modes = (
                _modes(os.path.join(directory, str(kinds["Pooling"]["path"]))) if "Pooling" in kinds else []
            )
            return modes or ["mean"], "Normalize" in kinds
    return ["mean"], False


def _modes(directory: str) -> List[str]:
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        pooling: Dict[str, Any] = json.load(file)
    if isinstance(pooling.get("pooling_mode"), str):
        return [str(pooling["pooling_mode"])]
    prefix = "pooling_mode_"
    asked = [key[len(prefix) :] for key, value in pooling.items() if key.startswith(prefix) and value is True]
    return sorted(MODES.get(each, each) for each in asked)
