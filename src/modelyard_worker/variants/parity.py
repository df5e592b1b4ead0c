"""Parity: whether a variant answers as its original does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping

import numpy as np

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays

TOLERANCE = 1e-5
"""Numbers agree within this, absolutely or as a part of the original's; labels agree exactly."""
SINGLES = 24
"""So many rows are asked one by one as well: runtimes have ways of their own for a single row."""


@dataclass(frozen=True)
class Parity:
    """What a comparison found."""

    rows: int
    label_mismatches: int
    max_abs_error: float
    held: bool

    def as_json(self) -> Dict[str, Any]:
        """As it travels."""
        error = self.max_abs_error if np.isfinite(self.max_abs_error) else None
        return {
            "rows": self.rows, "label_mismatches": self.label_mismatches, "max_abs_error": error,
            "tolerance": TOLERANCE, "held": self.held,
        }  # fmt: skip


def compared(request: Arrays, expected: Arrays, predict: Callable[[Any, Mapping[str, Any]], Any]) -> Parity:
    """Compare a variant's answers to a request, as a whole and row by row, with the original's."""
    count = len(next(iter(request.values())))
    found = _difference(expected, predict(request, {}))
    for at in np.linspace(0, count - 1, min(SINGLES, count)).astype(int):
        alone = predict({name: array[at : at + 1] for name, array in request.items()}, {})
        one = _difference({name: array[at : at + 1] for name, array in expected.items()}, alone)
        found = (found[0] + one[0], max(found[1], one[1]), found[2] and one[2])
    mismatches, error, within = found
    return Parity(
        rows=count, label_mismatches=mismatches, max_abs_error=error, held=within and not mismatches
    )


def _difference(expected: Arrays, got: Arrays) -> "tuple[int, float, bool]":
    """Labels that differ, the largest difference of numbers, and whether all are within the tolerance."""
    if list(expected) != list(got):
        return 0, float("inf"), False
    mismatches, error, within = 0, 0.0, True
    for name, wanted in expected.items():
        array = got[name]
        if array.shape != wanted.shape or array.dtype != wanted.dtype:
            return mismatches, float("inf"), False
        if wanted.dtype.kind != "f":
            mismatches += int((array != wanted).reshape(len(wanted), -1).any(axis=1).sum())
            continue
        error = max(error, _largest(array, wanted))
        within = within and bool(np.allclose(array, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return mismatches, error, within


def _largest(array: Any, wanted: Any) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(array.astype(np.float64) - wanted.astype(np.float64))
    both = (np.isnan(array) & np.isnan(wanted)) | (array == wanted)
    difference = np.where(both, 0.0, np.where(np.isnan(difference), np.inf, difference))
    return float(difference.max()) if difference.size else 0.0
