"""What a model refuses, so that its variant refuses the same in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Sequence

import numpy as np

from modelyard_worker.arrays import DTYPES
from modelyard_worker.failures import Failure
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

SPECIAL: Dict[str, float] = {"nan": np.nan, "infinite": np.inf, "large": 1e300}
EMPTY = "empty"
LARGEST = float(np.finfo(np.float32).max)
"""Models that refuse large numbers do so beyond single precision."""
MOST_COLUMNS = 64
"""So many columns are tried one by one."""


def refusals(specs: Sequence[Spec], row: Arrays, predict: Callable[[Any, Any], Any]) -> Dict[str, str]:
    """What the original refuses of a request of one row, and its words. Raises Unfit where columns differ."""
    found = {}
    empty = {name: array[:0] for name, array in row.items()}
    text = _refusal(predict, empty)
    if text:
        found[EMPTY] = text
    for kind, value in SPECIAL.items():
        texts = [_refusal(predict, probe) for probe in _probes(specs, row, value)]
        if texts and all(texts):
            found[kind] = texts[0]
        elif any(texts):
            raise Unfit(f"it refuses {kind} values in some columns and takes them in others")
    return found


def _probes(specs: Sequence[Spec], row: Arrays, value: float) -> List[Arrays]:
    """The row with the value in one float column at a time."""
    probes: List[Any] = []
    for spec in specs:
        if spec["datatype"] not in ("FP64", "FP32") or (value == 1e300 and spec["datatype"] == "FP32"):
            continue
        width = row[spec["name"]][0].size
        for at in range(min(width, MOST_COLUMNS)):
            array = np.array(row[spec["name"]], copy=True)
            array.reshape(len(array), -1)[:, at] = value
            probes.append({**row, spec["name"]: array})
    return probes


def _refusal(predict: Callable[[Any, Any], Any], tensors: Arrays) -> str:
    try:
        predict(tensors, {})
    except Failure as failure:
        return failure.message
    return ""


class Guard:
    """Refuses what the original refuses."""

    def __init__(self, specs: Sequence[Spec], refuses: Mapping[str, str]) -> None:
        self._refuses = dict(refuses)
        self._first = str(specs[0]["name"]) if specs else ""
        self._floats = [str(each["name"]) for each in specs if DTYPES[each["datatype"]].kind == "f"]
        self._bound = LARGEST if "large" in refuses else np.inf

    def check(self, tensors: Arrays) -> None:
        """Raise Failure(PredictionFailed) in the original's words for values that it does not take."""
        if EMPTY in self._refuses and not len(tensors[self._first]):
            raise _failure(self._refuses[EMPTY])
        for name in self._floats:
            array = tensors[name]
            if self._bound == np.inf and np.isfinite(array).all():
                continue
            if self._bound != np.inf and bool((np.abs(array) <= self._bound).all()):
                continue
            self._check_special(array)

    def _check_special(self, array: Any) -> None:
        for kind, found in (
            ("nan", np.isnan(array)),
            ("infinite", np.isinf(array)),
            ("large", np.isfinite(array) & (np.abs(array) > self._bound)),
        ):
            if kind in self._refuses and bool(found.any()):
                raise _failure(self._refuses[kind])


def _failure(text: str) -> Failure:
    failure = Failure("PredictionFailed", text)
    failure.__cause__ = ValueError(text)  # the request is to blame, as it is when the original says so
    return failure
