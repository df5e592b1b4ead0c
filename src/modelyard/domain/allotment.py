"""Dividing capacity that does not do for everyone: guaranteed replicas first, then by priority: pure.

What comes out depends only on who wants what and what runs, so that it may be asked again at any time: a
replica that has to go is not started again, and what it leaves goes to whom it was taken for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.domain.node import Node
from modelyard.domain.placement import Claim, Request, Unfit, claim, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one deployment wants of the capacity."""

    key: str
    id: int
    """Of several that are alike the older goes first."""
    rank: int
    """Of its priority; 0 is served first."""
    wanted: int
    guaranteed: int
    running: int
    """How many it has: equals never take from one another."""
    request: Request
    """Of each replica."""


@dataclass(frozen=True, slots=True, order=True)
class _Slot:
    """One replica of a demand, in the order in which capacity is given away."""

    tier: int
    rank: int
    new: bool
    ordinal: int
    id: int
    index: int


def allot(demands: Sequence[Demand], nodes: Sequence[Node], held: Sequence[Claim] = ()) -> dict[str, int]:
    """How many replicas each may have, by key; never more than fit beside what is `held` by others.

    What reserves nothing always fits. A replica that finds no place leaves what is left to those behind it.
    """
    granted = {demand.key: 0 for demand in demands}
    taken = list(held)
    for slot in sorted(_slots(demands)):
        demand = demands[slot.index]
        if demand.request == Request():
            granted[demand.key] += 1
            continue
        found = place(demand.request, nodes, taken)
        if not isinstance(found, Unfit):
            taken.append(claim(demand.request, found))
            granted[demand.key] += 1
    return granted


def limits(demands: Sequence[Demand], granted: dict[str, int]) -> dict[str, int]:
    """How many each may have that must do with fewer than it wants; never fewer than it is guaranteed."""
    kept = {demand.key: max(granted[demand.key], demand.guaranteed) for demand in demands}
    return {demand.key: kept[demand.key] for demand in demands if kept[demand.key] < demand.wanted}


def _slots(demands: Sequence[Demand]) -> Iterator[_Slot]:
    for index, demand in enumerate(demands):
        for ordinal in range(demand.wanted):
            beyond = ordinal >= demand.guaranteed
            running = ordinal < demand.running
            yield _Slot(int(beyond), demand.rank, not running, ordinal, demand.id, index)
