"""How many rows the next call to a model gets: as many as pay and as the time allowed permits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from modelyard.serving.batching.pace import KNOWN, Cost, Pace, Paces, size_of

GAIN = 0.95
"""Calls with more rows must cost less than this share for each row, or they are not worth the company."""
USUAL_SECONDS = 0.5
"""The time allowed where nobody said one, unless a single row takes longer than a quarter of it."""
AUTO, OFF, ON = MODES = ("auto", "off", "on")


class Policy:
    """Decides the size of calls, and says why.

    `obstacle` says why requests of this model can never share a call; empty when they can.
    `slo_seconds` is the time that a request may take; 0 is no bound.
    """

    def __init__(
        self, *, mode: str = OFF, max_rows: int = 64, slo_seconds: float = 0.0, obstacle: str = ""
    ) -> None:
        self.paces = Paces()
        self.mode = mode
        self.max_rows = max_rows
        self._slo_seconds = slo_seconds
        self._obstacle = obstacle

    @property
    def merges(self) -> bool:
        """Whether requests may share a call at all."""
        return self.mode != OFF and not self._obstacle and self.max_rows > 1

    def rows_for(self, first: int, waiting: int, row_bytes: int = 0) -> int:
        """How many rows to call the model with, when `first` must go and `waiting` could, `first` included.

        A row has `row_bytes`; what is known of calls goes by that too, as heavy rows may cost more to join
        than a call does. Until the cost of a size is known, that size is tried; afterwards the size that is
        cheapest for each row is taken, of those that keep to the time allowed.
        """
        possible = min(waiting, self.max_rows)
        if not self.merges or possible <= first:
            return first
        pace = self.paces.of(row_bytes)
        possible = self._bounded(pace, first, possible)
        if self.mode == ON or possible <= first:
            return max(first, possible)
        alone = pace.cost(first)
        if alone is None:
            return first
        unsure = _unsure(pace, first, possible)
        if unsure is not None:
            return unsure
        best = min(_known(pace, first, possible), key=lambda cost: cost.hoped_per_row, default=None)
        if best is None or best.hoped_per_row > GAIN * alone.per_row:
            return first
        return max(first, min(possible, best.rows))

    def observe(self, rows: int, seconds: float, row_bytes: int = 0) -> None:
        """A call with rows of so many bytes took so long: in the model, and to join, carry and cut up."""
        self.paces.of(row_bytes).observe(rows, seconds)

    def refuse(self, reason: str) -> None:
        """Never again let requests share a call."""
        self._obstacle = reason

    def allow(self, obstacle: str = "") -> None:
        """Begin anew for a model that was loaded again, perhaps with something in the way."""
        self._obstacle = obstacle

    def overflowed(self, rows: int) -> None:
        """A call with so many rows did not fit into memory: smaller ones may."""
        self.max_rows = max(1, min(self.max_rows, rows // 2))

    @property
    def reason(self) -> str:
        """What it does and why, for people."""
        if self._obstacle:
            return f"each request is a call of its own: {self._obstacle}"
        if not self.merges:
            return "each request is a call of its own: batching is off"
        if self.mode == ON:
            return f"up to {self.max_rows} rows go together, as configured"
        known = [cost for cost in self.paces.busiest if cost.calls >= KNOWN]
        if len(known) < 2:
            return "not enough calls yet to know whether batching pays"
        alone, best = known[0], min(known, key=lambda cost: cost.per_row)
        if best.per_row > GAIN * alone.per_row:
            best = min(known[1:], key=lambda cost: cost.per_row)
            return f"each request is a call of its own: {_compared(alone, best)}"
        return f"up to {best.rows} rows go together: {_compared(alone, best)}"

    def as_json(self) -> Mapping[str, Any]:
        """What it knows and does, for state and metrics."""
        costs = {str(cost.rows): round(cost.mean_seconds * 1e3, 4) for cost in self.paces.busiest}
        return {"mode": self.mode, "reason": self.reason, "max_rows": self.max_rows, "milliseconds": costs}

    def _bounded(self, pace: Pace, first: int, possible: int) -> int:
        """The most rows that keep to the time allowed.

        With more waiting than two such calls take, the wait costs the time: then a call may use all of it.
        """
        allowed = self._slo_seconds or max(USUAL_SECONDS, 8 * pace.bound(first))
        bounded = _within(partial(_missed_and_own, pace), allowed, first, possible)
        if possible <= 2 * bounded:
            return bounded
        return _within(partial(_hardly_exceeded, pace), allowed, first, possible)


def _within(taken: Callable[[int], float], seconds: float, first: int, possible: int) -> int:
    while possible > first and taken(possible) > seconds:
        possible = max(first, min(possible - 1, size_of(possible) // 2))
    return possible


def _missed_and_own(pace: Pace, rows: int) -> float:
    """Seconds of a request that just misses a call and waits for it before its own: both are rarely slow."""
    return _hardly_exceeded(pace, rows) + pace.expected(rows)


def _hardly_exceeded(pace: Pace, rows: int) -> float:
    """Seconds of such a call; a size with bad luck that was not taken since gets another chance."""
    cost = pace.cost(rows)
    if cost is not None and pace.is_stale(cost):
        return cost.mean_seconds
    return pace.bound(rows)


def _unsure(pace: Pace, first: int, possible: int) -> int | None:
    """A size whose cost is unknown or long not looked at."""
    size = size_of(possible)
    if size == size_of(first):
        return None
    cost = pace.cost(possible)
    if cost is None:
        return possible
    for looked, rows in ((pace.cost(first), first), (cost, possible)):
        if looked is not None and pace.is_stale(looked):
            return rows
    return None


def _known(pace: Pace, first: int, possible: int) -> list[Cost]:
    sizes = [cost for cost in pace if cost.calls >= KNOWN]
    return [cost for cost in sizes if size_of(first) < cost.rows <= size_of(possible)]


def _compared(alone: Cost, best: Cost) -> str:
    share = best.per_row / alone.per_row
    return (
        f"a row costs {best.per_row * 1e3:.3g} ms in calls of up to {best.rows} and "
        f"{alone.per_row * 1e3:.3g} ms in calls of {alone.rows} ({share:.2f} of it)"
    )
