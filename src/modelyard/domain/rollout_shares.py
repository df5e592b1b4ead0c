"""What a judged rollout needs of each revision: how many replicas, and which part of the requests. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from modelyard.domain import scaling
from modelyard.domain.deployment import Deployment, Replica
from modelyard.domain.rollout_status import RolloutStatus, Stand
from modelyard.domain.strategy import Kind

_TAKEN_UP_SECONDS = 2.0
"""The gateway divides requests anew well within this time."""


@dataclass(frozen=True, slots=True)
class Part:
    """Replicas of one revision and their percent of the requests."""

    revision: int
    replicas: tuple[Replica, ...]
    weight: int


def wanted(deployment: Deployment) -> int:
    """How many ready replicas serve all requests."""
    return scaling.wanted(deployment)


def needed(deployment: Deployment, rollout: RolloutStatus) -> int:
    """How many ready replicas of the new revision its step takes."""
    want, strategy = wanted(deployment), deployment.spec.strategy
    if strategy.kind is not Kind.CANARY:
        return want
    percent = strategy.stages[min(rollout.step, len(strategy.stages) - 1)]
    return max(ceil(want * percent / 100), min(want, 1))


def kept(deployment: Deployment, rollout: RolloutStatus, *, now: float) -> int:
    """How many replicas of the base must stay, until the rollout is decided."""
    want, strategy = wanted(deployment), deployment.spec.strategy
    if not strategy.lean or not rollout.since:
        return want
    weight = rollout.weight(rollout.base)
    fresh = rollout.stand is not Stand.PREPARING and now - rollout.since < _TAKEN_UP_SECONDS
    if fresh and rollout.step:
        weight = 100 - strategy.stages[min(rollout.step, len(strategy.stages) - 1) - 1]
    return max(ceil(want * weight / 100), min(want, 1))


def parts(deployment: Deployment, *, serves: Callable[[Replica], bool]) -> tuple[Part, ...]:
    """The ready replicas and the requests they get, which sum to 100 or, without a replica, to 0.

    Empty when all replicas share the requests evenly. A revision without a ready replica gets nothing, the
    others what it would have had. While the base lacks replicas, those of earlier revisions help it.
    """
    rollout = deployment.status.rollout
    if rollout is None or not rollout.weights or deployment.deleting:
        return ()
    ready = sorted(filter(serves, deployment.status.replicas), key=lambda r: r.name)
    new = tuple(r for r in ready if r.revision == rollout.revision)
    base = _base(deployment, rollout, ready)
    weight = rollout.weight(rollout.revision) if base else 100
    weight = weight if new else 0
    left = 100 - weight if base or new else 0
    return (Part(rollout.base, base, left), Part(rollout.revision, new, weight))


def _base(deployment: Deployment, rollout: RolloutStatus, ready: Sequence[Replica]) -> tuple[Replica, ...]:
    """Who answers what the new revision does not get."""
    own = tuple(r for r in ready if r.revision == rollout.base)
    others = tuple(r for r in ready if r.revision != rollout.revision)
    superseded = rollout.revision != deployment.revision
    return others if superseded or len(own) < wanted(deployment) else own
