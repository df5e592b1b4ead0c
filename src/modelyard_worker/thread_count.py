"""How many threads a model computes with: tried out when it is loaded, where it may have more than one."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

import numpy as np

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Loaded

SIZES = (1, 32)
"""Rows of the calls that are tried."""
ROUNDS = 5
LEAST_ROUNDS = 2
LONGEST_SECONDS = 0.5
GAIN = 1.1
"""More threads must be quicker by this much, taken together; they are taken from somebody else."""

Seconds = Dict[int, Dict[int, List[float]]]
"""By threads and rows."""


def settle(
    loaded: Loaded, row: Arrays, given: int, clock: Callable[[], float] = time.perf_counter
) -> Optional[Dict[str, Any]]:
    """Let the model compute with one thread, or with as many as it is given, whichever is quicker.

    Returns what was measured and chosen; None where there is nothing to choose. Trying takes half a second at
    most, and what that is too short for keeps what it is given. Raises Failure like `predict`.
    """
    choose = loaded.set_threads
    if given < 2 or choose is None:
        return None
    inputs = {size: {name: np.repeat(array, size, axis=0) for name, array in row.items()} for size in SIZES}
    found: Seconds = {count: {size: [] for size in SIZES} for count in (given, 1)}
    end = clock() + LONGEST_SECONDS
    rounds = 0
    while rounds < ROUNDS and clock() < end:
        for count, sizes in found.items():
            choose(count)
            for size, seconds in sizes.items():
                started = clock()
                loaded.predict(inputs[size], {})
                seconds.append(clock() - started)
                if clock() > end:
                    break
        rounds += 1
    measured = {count: _medians(sizes) for count, sizes in found.items()}
    best = chosen(measured, given) if _is_enough(found) else given
    choose(best)
    shown = {
        str(count): {str(size): round(each * 1e3, 4) for size, each in sizes.items()}
        for count, sizes in measured.items()
    }
    return {"given": given, "chosen": best, "milliseconds": shown}


def chosen(measured: Mapping[int, Mapping[int, float]], given: int) -> int:
    """The better number of threads, by the seconds of calls of each size with one and with all of them."""
    one, many = measured[1], measured[given]
    gain = math.exp(sum(math.log(one[size] / many[size]) for size in many) / len(many))
    return given if gain >= GAIN else 1


def _is_enough(found: Seconds) -> bool:
    return all(len(seconds) >= LEAST_ROUNDS for sizes in found.values() for seconds in sizes.values())


def _medians(sizes: Mapping[int, List[float]]) -> Dict[int, float]:
    return {size: max(sorted(seconds)[len(seconds) // 2], 1e-9) for size, seconds in sizes.items() if seconds}
