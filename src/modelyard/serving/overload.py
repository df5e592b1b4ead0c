"""How long the queue takes, from what calls have taken lately: who comes too late, and when to try again."""

from __future__ import annotations

from collections import deque
from math import ceil

KNOWN = 8
"""Calls after which a forecast is dared."""
MEMORY = 64
LONGEST_RETRY_SECONDS = 60


class Flow:
    """How quickly jobs leave. Pure: it is told what happened and knows no clock."""

    def __init__(self) -> None:
        self._calls: deque[float] = deque(maxlen=MEMORY)
        self._shares: deque[float] = deque(maxlen=MEMORY)
        self._least: tuple[float, float] | None = None
        """The quickest call and the smallest share; None when they must be looked for."""

    def observe(self, jobs: int, seconds: float) -> None:
        """A call for so many jobs took so long."""
        self._least = None
        self._calls.append(seconds)
        self._shares.append(seconds / jobs)

    def is_late(self, seconds_left: float, *, ahead: int, workers: int) -> bool:
        """Whether a job cannot be done in the time left, even if everything goes as well as it ever went.

        `ahead` jobs are to be begun before it.
        """
        if len(self._calls) < KNOWN:
            return False
        if self._least is None:
            self._least = min(self._calls), min(self._shares)
        call, share = self._least
        return seconds_left < ahead * share / (workers or 1) + call

    def retry_after(self, *, ahead: int, workers: int) -> int:
        """Whole seconds after which the jobs that wait now will have been begun, at the usual pace."""
        if not self._shares:
            return 1
        usual = sum(self._shares) / len(self._shares)
        return max(1, min(LONGEST_RETRY_SECONDS, ceil(ahead * usual / max(workers, 1))))
