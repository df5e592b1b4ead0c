"""What a model refuses, so that its compiled variant refuses the same in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from modelyard_worker.arrays import DTYPES
from modelyard_worker.arrays import text as words
from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

EMPTY, NAN, INFINITE, LARGE = "empty", "nan", "infinite", "large"
UNKNOWN = "a word that no model knows"
"""What the original was asked about; its refusal quotes it."""
LARGEST = float(np.finfo(np.float32).max)
"""Models that refuse large numbers do so beyond single precision."""


class Guard:
    """Refuses what the original refuses."""

    def __init__(self, specs: Sequence[Spec], about: Mapping[str, Any]) -> None:
        refuses = self._refuses = dict(about.get("refuses") or {})
        self._words = {
            name: (frozenset(each["known"]), str(each["text"]))
            for name, each in (about.get("words") or {}).items()
        }
        self._first = str(specs[0]["name"]) if specs else ""
        self._floats = [str(each["name"]) for each in specs if DTYPES[each["datatype"]].kind == "f"]
        self._bound = LARGEST if LARGE in refuses else np.inf

    def check(self, tensors: Arrays) -> None:
        """Raise Failure(PredictionFailed) in the original's words for values that it does not take."""
        if EMPTY in self._refuses and not len(tensors[self._first]):
            raise _failure(self._refuses[EMPTY])
        for name, (known, text) in self._words.items():
            unknown = sorted(set(words(tensors[name])) - known)
            if unknown:
                raise _failure(text.replace(repr(UNKNOWN), ", ".join(map(repr, unknown))))
        for name in self._floats:
            array = tensors[name]
            if self._bound == np.inf and np.isfinite(array).all():
                continue
            if self._bound != np.inf and bool((np.abs(array) <= self._bound).all()):
                continue
            self._check_special(array)

    def _check_special(self, array: Any) -> None:
        for kind, found in (
            (NAN, np.isnan(array)),
            (INFINITE, np.isinf(array)),
            (LARGE, np.isfinite(array) & (np.abs(array) > self._bound)),
        ):
            if kind in self._refuses and bool(found.any()):
                raise _failure(self._refuses[kind])


def _failure(text: str) -> Failure:
    failure = Failure("PredictionFailed", text)
    failure.__cause__ = ValueError(text)  # the request is to blame, as it is when the original says so
    return failure
