"""How long predictions take, in seconds: the median of many."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List

import numpy as np

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays

BATCHES = (1, 100)
MOST_CALLS = 200
LONGEST_SECONDS = 0.2
"""Of measuring one model with one batch; at least three calls are measured however slow they are."""


def seconds(predict: Callable[[Any, Any], Any], request: Arrays, rows: int) -> float:
    """Median time of a prediction of so many rows, taken from the request and repeated as needed."""
    count = len(next(iter(request.values())))
    at = np.arange(rows) % count
    batch = {name: np.ascontiguousarray(array[at]) for name, array in request.items()}
    predict(batch, {})
    taken: List[float] = []
    until = time.perf_counter() + LONGEST_SECONDS
    while len(taken) < 3 or (len(taken) < MOST_CALLS and time.perf_counter() < until):
        began = time.perf_counter()
        predict(batch, {})
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def measured(original: Dict[int, float], predict: Callable[[Any, Any], Any], request: Arrays) -> List[Any]:
    """Both models' times for every batch, as they travel."""
    return [
        {
            "batch": rows,
            "original_seconds": original[rows],
            "variant_seconds": seconds(predict, request, rows),
        }
        for rows in BATCHES
    ]
