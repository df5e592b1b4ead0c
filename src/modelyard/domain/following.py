"""How many replicas follow from load, as the Horizontal Pod Autoscaler of Kubernetes reckons: pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.domain.autoscaling import PER_REPLICA, Metric, Target, said

TOLERANCE = 0.1
"""A load this near to its target changes nothing."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoad:
    """What one replica uses, as parts of what it asked for."""

    ready: bool
    parts: Mapping[Metric, float] = field(default_factory=dict)
    """Without those that could not be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was measured of a service."""

    replicas: tuple[ReplicaLoad, ...] = ()
    totals: Mapping[Metric, float] = field(default_factory=dict)
    """Of the whole service: requests in flight, requests a second."""
    waiting: int = 0
    """Requests that are held because no replica is ready."""
    busy: bool = False
    """Whether any request came or was under way since the last look."""
    known: bool = True
    """Whether anybody could say so: what is not known to be idle is not put to sleep."""


@dataclass(frozen=True, slots=True)
class Call:
    """A number of replicas that a metric calls for, with the measure that it follows from."""

    replicas: int
    words: str


def call(targets: Sequence[Target], load: Load, *, current: int) -> Call | None:
    """What the metric that asks for most calls for; None when nothing could be measured.

    While one of them cannot be measured the others may call for more replicas, and not for fewer.
    """
    calls = [_one(target, load, current) for target in targets]
    known = [each for each in calls if each is not None]
    if not known:
        return None
    most = max(known, key=lambda each: each.replicas)
    if len(known) < len(calls) and most.replicas < current:
        return Call(current, "not every metric could be measured")
    return most


def _one(target: Target, load: Load, current: int) -> Call | None:
    if target.metric in PER_REPLICA:
        return _by_parts(target, load.replicas, current)
    total = load.totals.get(target.metric)
    if total is None:
        return None
    words = f"{target.metric} {total:.4g} of {said(target.metric, target.value)} per replica"
    if current and _is_near(total / (target.value * current)):
        return Call(current, words)
    return Call(_up(total / target.value), words)


def _by_parts(target: Target, replicas: Sequence[ReplicaLoad], current: int) -> Call | None:
    """From the mean over replicas; those that say nothing are taken to need no change.

    A replica that is not ready, or not there yet, counts as idle when more would be called for: what it will
    take over is not known. One that is ready and cannot be measured counts as idle then too, and as wholly
    used when fewer would be.
    """
    found = [r.parts[target.metric] for r in replicas if r.ready and target.metric in r.parts]
    if not found:
        return None
    silent = sum(r.ready and target.metric not in r.parts for r in replicas)
    coming = sum(not r.ready for r in replicas) + max(current - len(replicas), 0)
    mean = sum(found) / len(found)
    words = f"{target.metric} {said(target.metric, mean)} of {said(target.metric, target.value)}"
    ratio = mean / target.value
    if ratio > 1:
        found += [0.0] * (silent + coming)
    elif silent:
        found += [max(1.0, target.value)] * silent
    again = sum(found) / len(found) / target.value
    turned = (ratio - 1) * (again - 1) < 0
    if _is_near(again) or turned:
        return Call(current, words)
    count = _up(again * len(found))
    against = (again < 1 and count > current) or (again > 1 and count < current)
    return Call(current if against else count, words)


def _is_near(ratio: float) -> bool:
    return abs(ratio - 1) <= TOLERANCE


def _up(number: float) -> int:
    return math.ceil(number - _ROUNDING)
