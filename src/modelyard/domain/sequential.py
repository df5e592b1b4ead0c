"""Tests that may be looked at after every request and still err rarely: likelihood ratios of mixtures.

Each answers with the logarithm of a number that, while nothing is wrong, exceeds 1/a with a probability of at
most a, however often it is looked at (Ville's inequality). That holds for requests that fail independently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log, log1p, sqrt

ERROR = 0.001
"""How often a gate may reject a revision that is no worse than it may be."""

DECISIVE = log(1 / ERROR)
"""A rejection is certain enough once the evidence is this large."""

RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How much more frequent the bad may have become: the alternatives that are mixed."""

_HIGHEST = 0.999


def mixture(logs: Sequence[float]) -> float:
    """The evidence of all alternatives together; 0 before there is any."""
    if not logs:
        return 0.0
    most = max(logs)
    return most + log(sum(exp(each - most) for each in logs) / len(logs))


def above(limit: float, samples: int, bad: int) -> float:
    """Evidence that more than `limit` of all are bad, when `bad` of `samples` were."""
    return mixture(against((), limit, samples, bad))


def against(logs: Sequence[float], rate: float, samples: int, bad: int) -> tuple[float, ...]:
    """Evidence so far, with these samples, that the bad are more frequent than `rate`."""
    rate = min(max(rate, 1e-9), _HIGHEST)
    return tuple(
        before + bad * log(each / rate) + (samples - bad) * (log1p(-each) - log1p(-rate))
        for before, each in zip(_begun(logs), _alternatives(rate), strict=True)
    )


def beside(logs: Sequence[float], new: tuple[int, int], old: tuple[int, int]) -> tuple[float, ...]:
    """Evidence so far, with what both did at the same time, that the new is bad more often than the old.

    Each pair is samples and how many of them were bad. Given how many were bad together, it is a draw which
    of them fell to the new; so it does not matter how many are bad, nor that this changes with the hour.
    """
    bad, everything = new[1] + old[1], new[0] + old[0]
    if not bad or not new[0] or not old[0]:
        return _begun(logs)
    part = new[0] / everything
    return tuple(
        before + new[1] * log(ratio) - bad * log(part * ratio + 1 - part)
        for before, ratio in zip(_begun(logs), RATIOS, strict=True)
    )


def below(logs: Sequence[float], least: float, values: Iterable[float]) -> tuple[float, ...]:
    """Evidence so far, with these values from 0 to 1, that their mean is below `least`."""
    allowed = min(max(1 - least, 1e-9), _HIGHEST)
    stakes = [(each - allowed) / (allowed * (1 - allowed)) for each in _alternatives(allowed)]
    found = list(_begun(logs))
    for value in values:
        miss = 1 - min(max(value, 0.0), 1.0) - allowed
        found = [
            before + log(max(1 + stake * miss, 1e-12)) for before, stake in zip(found, stakes, strict=True)
        ]
    return tuple(found)


def upper(samples: int, bad: int) -> float:
    """A rate that the true one is hardly above, when `bad` of `samples` were."""
    if not samples:
        return 1.0
    rate, z2 = bad / samples, 9.0
    spread = sqrt(z2 * (rate * (1 - rate) + z2 / (4 * samples)) / samples)
    return min((rate + z2 / (2 * samples) + spread) / (1 + z2 / samples), 1.0)


def _begun(logs: Sequence[float]) -> tuple[float, ...]:
    return tuple(logs) if logs else (0.0,) * len(RATIOS)


def _alternatives(rate: float) -> tuple[float, ...]:
    """Rates above this one; never so high that they would not be rates."""
    return tuple(min(rate * ratio, rate + (1 - rate) * (1 - 1 / (1 + ratio))) for ratio in RATIOS)
