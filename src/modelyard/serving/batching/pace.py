"""What calls to a model cost, learned from the calls themselves: by how many rows, and how heavy ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt
from typing import NamedTuple

KNOWN = 3
"""Calls of a size after which its cost is believed."""
MEMORY = 64
"""The newest of so many calls count most."""
RECENT = 32
STALE_CALLS = 32
LEAST_STALE_CALLS = 512
"""A size is forgotten after so many other calls, and as many for each of its rows: models and rows change."""
OVERHEAD_SECONDS = 0.0001
"""What a message to a worker and back costs both sides, whatever is in it."""
HEAVY = 3
"""From this weight on, 64 KiB, messages cost nothing of their own: meanwhile the front carries others."""
LIGHT_STEPS = 6
"""Rows of up to 4 to this power, 4 KiB, are alike."""
HEAVIEST = 8
"""Rows beyond 64 MiB are alike too."""


class Spent(NamedTuple):
    """Where the seconds of a call went."""

    inside: float
    """In the model."""
    worker: float = 0.0
    """On bringing a large answer into shared memory, in the worker."""
    front: float = 0.0
    """On joining, carrying and cutting up large tensors, in the front."""


def seconds_of(spent: Spent, *, shared: bool) -> float:
    """What a call costs the requests behind it.

    While one request is in the worker the front brings the next, so that only the slower of both counts. A
    call that is shared begins when all its rows are there and is answered when all of them are: there is
    nothing to do meanwhile.
    """
    inside, worker, front = spent
    return inside + worker + front if shared else max(inside + worker, front)


@dataclass(slots=True)
class Cost:
    """Calls of about one size."""

    rows: int
    """The most rows that calls counted here may have: a power of two."""
    calls: int = 0
    used_at: int = 0
    """Number of the call that was counted here last."""
    mean_rows: float = 0.0
    mean_seconds: float = 0.0
    variance: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def per_row(self) -> float:
        """Seconds for each row."""
        return self.mean_seconds / self.mean_rows

    @property
    def hoped_per_row(self) -> float:
        """The same, as little as it may really be: a few slow calls at first do not condemn a size."""
        return (self.mean_seconds - sqrt(self.variance / self.calls)) / self.mean_rows

    @property
    def high(self) -> float:
        """Seconds that few calls exceed."""
        return max(self.mean_seconds + 2.5 * sqrt(self.variance), *self.recent)

    def add(self, rows: int, seconds: float) -> None:
        """Count a call."""
        self.calls += 1
        weight = 1 / min(self.calls, MEMORY)
        self.mean_rows += (rows - self.mean_rows) * weight
        away = seconds - self.mean_seconds
        self.mean_seconds += away * weight
        self.variance = (1 - weight) * (self.variance + weight * away * away)
        self.recent.append(seconds)


class Pace:
    """Costs by size: 1, 2, 3–4, 5–8, 9–16 rows and so on."""

    def __init__(self, overhead: float = OVERHEAD_SECONDS) -> None:
        self._costs: dict[int, Cost] = {}
        self._overhead = overhead
        self.calls = 0

    def __iter__(self) -> Iterator[Cost]:
        return iter(sorted(self._costs.values(), key=lambda cost: cost.rows))

    def observe(self, rows: int, seconds: float) -> None:
        """A call with so many rows took so long."""
        size = size_of(rows)
        cost = self._costs.get(size)
        if cost is None:
            cost = self._costs[size] = Cost(size)
        elif self.is_stale(cost):
            # What it was long ago counts as one call.
            cost.calls = 1
            cost.recent.clear()
        self.calls += 1
        cost.used_at = self.calls
        cost.add(max(rows, 1), seconds + self._overhead)

    def cost(self, rows: int) -> Cost | None:
        """The cost of calls of that size, None while too little is known."""
        cost = self._costs.get(size_of(rows))
        return cost if cost is not None and cost.calls >= KNOWN else None

    def is_stale(self, cost: Cost) -> bool:
        """Whether calls of that size were so long ago that it is worth trying one again."""
        return self.calls - cost.used_at > max(STALE_CALLS * cost.rows, LEAST_STALE_CALLS)

    def bound(self, rows: int) -> float:
        """Seconds that a call of so many rows hardly exceeds, with a line through the nearest known sizes."""
        known = [cost for cost in self if cost.calls >= KNOWN]
        below = [cost for cost in known if cost.rows <= size_of(rows)]
        if not below:
            return known[0].high if known else 0.0
        last = below[-1]
        if last.rows == size_of(rows):
            return last.high
        slope = last.high / last.mean_rows
        if len(below) > 1 and last.mean_rows > below[0].mean_rows:
            between = (last.mean_seconds - below[0].mean_seconds) / (last.mean_rows - below[0].mean_rows)
            slope = min(slope, max(2 * between, 0.0))
        return last.high + slope * (rows - last.mean_rows)

    def expected(self, rows: int) -> float:
        """Seconds that a call of so many rows takes as a rule, with the same line; 0 if nothing is known."""
        known = [cost for cost in self if cost.calls >= KNOWN and cost.rows <= size_of(rows)]
        if not known:
            return 0.0
        last = known[-1]
        if last.rows == size_of(rows):
            return last.mean_seconds
        slope = last.per_row
        if last.mean_rows > known[0].mean_rows:
            between = (last.mean_seconds - known[0].mean_seconds) / (last.mean_rows - known[0].mean_rows)
            slope = min(slope, max(between, 0.0))
        return last.mean_seconds + slope * (rows - last.mean_rows)

    def least(self, rows: int) -> float:
        """The quickest of the latest calls of that size: none can be hoped to be quicker; 0 if unknown."""
        cost = self.cost(rows)
        return min(cost.recent) - self._overhead if cost is not None else 0.0


class Paces:
    """A pace for rows of each weight: what joining them saves is the same, what copying them costs is not."""

    def __init__(self) -> None:
        self._paces: dict[int, Pace] = {}

    def __iter__(self) -> Iterator[Pace]:
        return iter(self._paces.values())

    def of(self, row_bytes: int) -> Pace:
        """The pace of calls whose rows have about so many bytes."""
        weight = weight_of(row_bytes)
        pace = self._paces.get(weight)
        if pace is None:
            pace = self._paces[weight] = Pace(OVERHEAD_SECONDS if weight < HEAVY else 0.0)
        return pace

    @property
    def busiest(self) -> Pace:
        """That of most calls."""
        return max(self, key=lambda pace: pace.calls, default=Pace())

    def least(self, rows: int) -> float:
        """The quickest of the latest calls of that size, whatever its rows weigh; 0 if unknown."""
        return min((pace.least(rows) for pace in self), default=0.0)


def size_of(rows: int) -> int:
    """The power of two that a number of rows is counted under."""
    return 1 << (max(rows, 1) - 1).bit_length()


def weight_of(row_bytes: int) -> int:
    """The power of four that the bytes of a row are counted under; 0 while copying them costs little."""
    steps = ((max(row_bytes, 1) - 1).bit_length() + 1) // 2 - LIGHT_STEPS
    return max(0, min(steps, HEAVIEST))
