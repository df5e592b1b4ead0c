"""What each gate makes of what the revisions did since the last look: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, zip_longest
from math import log

from modelyard.domain import memory_gate, sequential
from modelyard.domain.deployment import Replica
from modelyard.domain.gates import (
    AgreementGate,
    ErrorGate,
    Gate,
    LatencyGate,
    ManualGate,
    MemoryGate,
    MetricGate,
)
from modelyard.domain.rollout_status import Counts, Tail, Tally

FEWEST_PAIRS = 50
"""An agreement gate lets nothing pass before so many comparisons."""

FEWEST_TIMES = 50
"""The old revision's quantile is not known before it answered so many requests."""

CLEAR = log(20)
"""Evidence that errors are over a gate's limit; that there are more than before must be decisive as well."""

PATIENCE = 3
"""A metric must be out of its bound so many looks in a row; nothing is known of its distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was found out since the last look."""

    new: Counts = field(default_factory=Counts)
    old: Counts = field(default_factory=Counts)
    before: Counts = field(default_factory=Counts)
    """Of the old revision before the rollout; counted with the first look."""
    bounds: Sequence[float] = ()
    """Upper bounds of the histograms' buckets in seconds; the last bucket has none."""
    agreements: Sequence[float] = ()
    """Of each new comparison, the part of its rows that agree."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the new revision's replicas, their mean by name."""
    tail: Tail | None = None


def judge(
    gate: Gate, tally: Tally, seen: Seen, *, new: Sequence[Replica], old: Sequence[Replica], now: float
) -> Tally:
    """The gate's tally with what was seen; once failed, it stays so."""
    if tally.failed:
        return tally
    match gate:
        case ErrorGate():
            return _errors(gate, tally, seen)
        case LatencyGate():
            return _latency(gate, tally, seen)
        case AgreementGate():
            return _agreement(gate, tally, seen)
        case MemoryGate():
            return memory_gate.judge(gate, tally, new=new, old=old, now=now)
        case MetricGate():
            return _metric(gate, tally, seen)
        case ManualGate():
            return tally


def _errors(gate: ErrorGate, tally: Tally, seen: Seen) -> Tally:
    """Too many by the gate's measure, and more than the old revision has."""
    new, old = (seen.new.requests, seen.new.errors), (seen.old.requests, seen.old.errors)
    tally = _counted(tally, new, old, (seen.before.requests, seen.before.errors))
    failed = (
        sequential.above(gate.limit, tally.samples, tally.bad) >= CLEAR
        and _worse(tally) >= sequential.DECISIVE
    )
    message = f"{_rate(tally.bad, tally.samples)} of the new revision's requests failed"
    if tally.base_samples:
        message += f", {_rate(tally.base_bad, tally.base_samples)} of the old one's"
    return replace(tally, failed=failed, message=message)


def _latency(gate: LatencyGate, tally: Tally, seen: Seen) -> Tally:
    """The old one's quantile, and a bound so much above it: which revision is above its own more often?"""
    known = _added(tally.histogram, seen.before.histogram)
    after = replace(tally, histogram=_added(known, seen.old.histogram))
    mark = _bucket_of(gate.quantile, known)
    name = f"p{gate.quantile * 100:g}"
    if mark is None or mark >= len(seen.bounds):
        return replace(after, message=f"{name} of the old revision is not known yet")
    allowed = seen.bounds[mark] * (1 + gate.ratio) + gate.seconds
    limit = next((n for n, bound in enumerate(seen.bounds) if bound >= allowed), len(seen.bounds))
    new = (sum(seen.new.histogram), sum(seen.new.histogram[limit + 1 :]))
    old = (sum(seen.old.histogram), sum(seen.old.histogram[mark + 1 :]))
    history = (0, 0) if tally.base_samples else (sum(known), sum(known[mark + 1 :]))
    after = _counted(after, new, old, history)
    message = (
        f"{_rate(after.bad, after.samples)} of the new revision's answers took over "
        f"{_milliseconds(seen, limit)}, {_rate(after.base_bad, after.base_samples)} of the old one's "
        f"over {_milliseconds(seen, mark)}"
    )
    return replace(after, failed=_worse(after) >= sequential.DECISIVE, message=message)


def _agreement(gate: AgreementGate, tally: Tally, seen: Seen) -> Tally:
    evidence = sequential.below(tally.evidence, gate.least, seen.agreements)
    samples = tally.samples + len(seen.agreements)
    bad = tally.bad + sum(part < 1 for part in seen.agreements)
    return replace(
        tally,
        samples=samples,
        bad=bad,
        evidence=evidence,
        waits=samples < FEWEST_PAIRS,
        failed=sequential.mixture(evidence) >= sequential.DECISIVE,
        message=f"{_rate(bad, samples)} of the compared answers disagree",
    )


def _metric(gate: MetricGate, tally: Tally, seen: Seen) -> Tally:
    value = seen.metrics.get(gate.name)
    if value is None:
        message = f"the replicas of the new revision expose no metric {gate.name}"
        return replace(tally, waits=True, message=message)
    out = value > gate.bound if gate.most else value < gate.bound
    bad = tally.bad + 1 if out else 0
    return replace(
        tally,
        samples=tally.samples + 1,
        bad=bad,
        waits=False,
        failed=bad >= PATIENCE,
        message=f"{gate.name} is {value:g} with the new revision",
    )


def _counted(tally: Tally, new: tuple[int, int], old: tuple[int, int], before: tuple[int, int]) -> Tally:
    """With these samples and how many were bad; beside the old, or else against what is known of it."""
    base = (tally.base_samples + before[0], tally.base_bad + before[1])
    if old[0]:
        evidence = sequential.beside(tally.evidence, new, old)
    elif base[0]:
        evidence = sequential.against(tally.evidence, sequential.upper(*base), *new)
    else:
        evidence = tally.evidence
    return replace(
        tally,
        samples=tally.samples + new[0],
        bad=tally.bad + new[1],
        base_samples=base[0] + old[0],
        base_bad=base[1] + old[1],
        evidence=evidence,
    )


def _worse(tally: Tally) -> float:
    """Evidence that the new revision is worse than the old; without an old one nothing excuses it."""
    return sequential.mixture(tally.evidence) if tally.base_samples else sequential.DECISIVE


def _bucket_of(quantile: float, histogram: Sequence[int]) -> int | None:
    total = sum(histogram)
    if total < FEWEST_TIMES:
        return None
    return next(n for n, below in enumerate(accumulate(histogram)) if below >= quantile * total)


def _added(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))


def _milliseconds(seen: Seen, bucket: int) -> str:
    return f"{seen.bounds[min(bucket, len(seen.bounds) - 1)] * 1000:g} ms"


def _rate(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.2%})" if whole else "none"
