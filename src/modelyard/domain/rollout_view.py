"""A rollout as people are shown it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.deployment import Deployment, Phase
from modelyard.domain.rollout_status import RolloutStatus, Stand
from modelyard.domain.strategy import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class GateView:
    """One gate and what it has seen."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    gate: str
    passed: bool | None
    """None while it has seen too little, or waits for somebody."""
    samples: int = 0
    bad: int = 0
    base_samples: int = 0
    base_bad: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """One revision's part in it."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    revision: int
    percent: int
    """Of the requests; what the revision's ready replicas cannot take goes to the others."""
    ready: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """How far a rollout is, and the numbers that decide it."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    service: str
    strategy: Kind
    stand: Stand | None
    """None when the deployment has had no rollout that was judged."""
    revision: int
    base: int
    step: int
    """From 1."""
    steps: tuple[int, ...]
    since: float
    started_at: float
    requests: int
    """Of the new revision in this step."""
    revisions: tuple[RevisionView, ...]
    gates: tuple[GateView, ...]
    message: str
    decided_by: str


_NONE = (
    "replicas were replaced one after another and nothing was judged; deploy with `--strategy canary` or "
    "`blue-green`, or with a `--gate`"
)


def view(deployment: Deployment) -> RolloutView:
    """The answer for the newest rollout."""
    strategy, newest = deployment.spec.strategy, deployment.revision
    known = deployment.status.rollout
    ready = Counter(r.revision for r in deployment.status.replicas if r.phase is Phase.READY)
    rollout = known or RolloutStatus(base=newest, revision=newest, message=_NONE)
    return RolloutView(
        service=deployment.key.service,
        strategy=strategy.kind,
        stand=known.stand if known else None,
        revision=rollout.revision,
        base=rollout.base,
        step=rollout.step + 1,
        steps=strategy.stages,
        since=rollout.since,
        started_at=rollout.started_at,
        requests=rollout.requests,
        revisions=tuple(
            RevisionView(
                revision=number,
                percent=rollout.weight(number) if rollout.weights else _part(ready, number),
                ready=ready[number],
            )
            for number in dict.fromkeys((rollout.base, rollout.revision))
        ),
        gates=tuple(
            GateView(
                gate=tally.gate,
                passed=False if tally.failed else None if tally.waits or not tally.message else True,
                samples=tally.samples,
                bad=tally.bad,
                base_samples=tally.base_samples,
                base_bad=tally.base_bad,
                message=tally.message,
            )
            for tally in rollout.tallies
        ),
        message=rollout.message,
        decided_by=rollout.decided_by,
    )


def _part(ready: Counter[int], revision: int) -> int:
    """Percent of the requests that a revision gets when each ready replica gets as many."""
    return round(100 * ready[revision] / max(ready.total(), 1))
