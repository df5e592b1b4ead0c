"""Whether replicas of the new revision leak: they grow on and on, and those of the old one do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log

from modelyard.domain.deployment import Phase, Replica
from modelyard.domain.gates import MemoryGate
from modelyard.domain.rollout_status import Grown, Tally

SETTLE_SECONDS = 5.0
"""A replica that just became ready still allocates what it will keep."""

_NOISE = 0.001
"""A difference of this part of a replica's memory says nothing."""

_UP, _DOWN = log(0.9 / 0.5), log(0.1 / 0.5)
_DECISIVE = log(1000.0)
_LOWEST = 2 * _DOWN
"""A leak that begins late must not have to outweigh everything that was good before."""


def judge(
    gate: MemoryGate, tally: Tally, *, new: Sequence[Replica], old: Sequence[Replica], now: float
) -> Tally:
    """Failed when growth is over the gate's part and beyond the old revision's, look after look.

    While both revisions' memory only trembles, either is as likely to have grown more since the last look:
    twelve looks in a row at which it is the new one happen by chance once in four thousand.
    """
    fresh, steady = _settled(new, now), _settled(old, now)
    before = {each.replica: each for each in tally.grown}
    ours, our_step = _growth(fresh, before)
    theirs, their_step = _growth(steady, before)
    evidence = tally.evidence[0] if tally.evidence else 0.0
    if abs(our_step - their_step) > _NOISE:
        evidence = max(evidence + (_UP if our_step > their_step else _DOWN), _LOWEST)
    over = ours > gate.ratio and ours > theirs + gate.ratio / 2
    return replace(
        tally,
        samples=tally.samples + bool(fresh),
        grown=tuple(_grown(r, before) for r in (*fresh, *steady)),
        evidence=(evidence,),
        failed=over and evidence >= _DECISIVE,
        message=f"memory of the new revision's replicas grew by {ours:.1%}, of the old one's by {theirs:.1%}",
    )


def _settled(replicas: Sequence[Replica], now: float) -> tuple[Replica, ...]:
    return tuple(
        r
        for r in replicas
        if r.phase is Phase.READY and r.memory_bytes and now - r.phase_since >= SETTLE_SECONDS
    )


def _growth(replicas: Sequence[Replica], before: dict[str, Grown]) -> tuple[float, float]:
    """By which part memory grew since the first look, and since the last; the mean over the replicas."""
    known = [(r.memory_bytes, before[r.name]) for r in replicas if r.name in before]
    if not known:
        return 0.0, 0.0
    whole = sum(memory / was.first - 1 for memory, was in known) / len(known)
    return whole, sum((memory - was.last) / was.first for memory, was in known) / len(known)


def _grown(r: Replica, before: dict[str, Grown]) -> Grown:
    was = before.get(r.name)
    return Grown(replica=r.name, first=was.first if was else r.memory_bytes, last=r.memory_bytes)
