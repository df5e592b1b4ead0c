"""Finds out what an original refuses: requests without rows, NaN, infinite and very large numbers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Sequence

import numpy as np

from modelyard_worker.failures import Failure
from modelyard_worker.guard import EMPTY, INFINITE, LARGE, NAN, UNKNOWN
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

HUGE = 1e300
SPECIAL: Dict[str, float] = {NAN: np.nan, INFINITE: np.inf, LARGE: HUGE}
MOST_COLUMNS = 64
"""So many columns are tried one by one."""


def found(specs: Sequence[Spec], row: Arrays, predict: Callable[[Any, Any], Any]) -> Dict[str, str]:
    """What the original refuses of a request of one row, and its words. Raises Unfit where columns differ."""
    known = {}
    empty = {name: array[:0] for name, array in row.items()}
    text = _refusal(predict, empty)
    if text:
        known[EMPTY] = text
    for kind, value in SPECIAL.items():
        texts = [_refusal(predict, probe) for probe in _probes(specs, row, value)]
        if texts and all(texts):
            known[kind] = texts[0]
        elif any(texts):
            raise Unfit(f"it refuses {kind} values in some columns and takes them in others")
    return known


def words(
    specs: Sequence[Spec],
    row: Arrays,
    predict: Callable[[Any, Any], Any],
    known: Mapping[str, List[str]],
) -> Dict[str, Any]:
    """Text inputs whose unknown words the original refuses, and the words that it knows. Raises Unfit."""
    refused: Dict[str, Any] = {}
    for spec in specs:
        if spec["datatype"] != "BYTES":
            continue
        name = spec["name"]
        text = _refusal(predict, {**row, name: np.full(row[name].shape, UNKNOWN.encode(), dtype=object)})
        if text and (repr(UNKNOWN) not in text or not known.get(name)):
            raise Unfit(f"it refuses unknown words in {name} in a way that its variant cannot: {text}")
        if text:
            refused[name] = {"known": known[name], "text": text}
    return refused


def _probes(specs: Sequence[Spec], row: Arrays, value: float) -> List[Arrays]:
    """The row with the value in one float column at a time."""
    probes: List[Any] = []
    for spec in specs:
        if spec["datatype"] not in ("FP64", "FP32") or (value == HUGE and spec["datatype"] == "FP32"):
            continue
        width = row[spec["name"]][0].size
        for at in range(min(width, MOST_COLUMNS)):
            array = np.array(row[spec["name"]], copy=True)
            array.reshape(len(array), -1)[:, at] = value
            probes.append({**row, spec["name"]: array})
    return probes


def _refusal(predict: Callable[[Any, Any], Any], tensors: Arrays) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predict(tensors, {})
    except Failure as failure:
        return failure.message
    return ""
