"""How an endpoint's requests are divided now: pure, from what was asked and who is ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from modelyard.domain.traffic_spec import EndpointSpec, Ref, parse

Ready = Mapping[str, Mapping[int, int]]
"""Service to revision to how many replicas may take requests; a service that is missing does not exist."""

Steps = Sequence[tuple[int, int]]
"""Revision to percent, as a rollout in progress divides a service's own requests; empty without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One place that requests may go to, and how many of a hundred do."""

    ref: Ref
    asked: Fraction
    """Percent, as it would be were everyone ready."""
    weight: int
    """Percent in force."""
    reason: str = ""
    """Why it gets nothing, or less or more than asked; empty when it gets what was asked."""


def divide(own: str, spec: EndpointSpec, ready: Ready, steps: Steps = ()) -> tuple[Part, ...]:
    """Everyone whom requests to the service `own` may go to, its own replicas first.

    Weights sum to 100, or are all 0 when nobody who was asked for is ready. What is not ready gets
    nothing, and its part goes to the others in proportion; to the service itself when no other is left.
    Deterministic, and whole percents by largest remainder.
    """
    asked = _asked(own, spec, ready, steps)
    for pin in spec.pins:
        asked.setdefault(parse(pin.to), Fraction(0))
    able = {ref: part if _count(ref, ready) else Fraction(0) for ref, part in asked.items()}
    if not any(able.values()):
        able |= _rescue(own, ready)
        asked = {ref: asked.get(ref, Fraction(0)) for ref in able}
    weights = _whole(able)
    return tuple(
        Part(ref=ref, asked=part, weight=weights[ref], reason=_reason(ref, part, weights[ref], ready))
        for ref, part in asked.items()
    )


def in_words(weights: Sequence[tuple[str, int]]) -> str:
    """Where requests go, as `churn 90 %, churn-b 10 %`; empty while they all go to the service itself."""
    alone = len(weights) == 1
    return "" if alone else ", ".join(f"{to} {weight} %" for to, weight in weights)


def _asked(own: str, spec: EndpointSpec, ready: Ready, steps: Steps) -> dict[Ref, Fraction]:
    """Place to percent: the service's own first, then the others as they were named."""
    named = {parse(name): Fraction(percent) for name, percent in spec.weights.items()}
    myself = Ref(own)
    rest = 100 - sum(named.values()) + named.pop(myself, Fraction(0))
    mine = [ref.revision for ref in named if ref.service == own and ref.revision is not None]
    found = _own(own, rest, ready, [*mine], steps)
    for ref, percent in named.items():
        found[ref] = found.get(ref, Fraction(0)) + percent
    return found


def _own(own: str, rest: Fraction, ready: Ready, named: Sequence[int], steps: Steps) -> dict[Ref, Fraction]:
    """How the service divides what is its own: by its rollout, and beside named revisions by the others."""
    if steps:
        return {Ref(own, revision): rest * percent / 100 for revision, percent in steps}
    others = {r: n for r, n in sorted(ready.get(own, {}).items()) if n and r not in named}
    if not named or not others:
        return {Ref(own): rest}
    total = sum(others.values())
    return {Ref(own, revision): rest * count / total for revision, count in others.items()}


def _rescue(own: str, ready: Ready) -> dict[Ref, Fraction]:
    """The service's own replicas, when everyone who was asked for is away."""
    return {Ref(own): Fraction(100)} if _count(Ref(own), ready) else {}


def _count(ref: Ref, ready: Ready) -> int:
    revisions = ready.get(ref.service, {})
    return sum(revisions.values()) if ref.revision is None else revisions.get(ref.revision, 0)


def _whole(parts: Mapping[Ref, Fraction]) -> dict[Ref, int]:
    """Whole percents that sum to 100, each less than one from its exact part; all 0 when those are."""
    total = sum(parts.values())
    if not total:
        return dict.fromkeys(parts, 0)
    exact = {ref: part * 100 / total for ref, part in parts.items()}
    whole = {ref: int(part) for ref, part in exact.items()}
    by_remainder = sorted(exact, key=lambda ref: whole[ref] - exact[ref])
    for ref in by_remainder[: 100 - sum(whole.values())]:
        whole[ref] += 1
    return whole


def _reason(ref: Ref, asked: Fraction, weight: int, ready: Ready) -> str:
    if ref.service not in ready:
        return "does not exist; the others share its part"
    if not _count(ref, ready):
        return "no replica is ready; the others share its part"
    if weight == asked:
        return ""
    if abs(asked - weight) < 1:
        return "rounded to whole percents"
    return "takes the part of those that are not ready"
