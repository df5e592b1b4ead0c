"""How a judged rollout goes on: from what is ready and what was seen to its next status. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from modelyard.domain import judging
from modelyard.domain.deployment import Deployment, DeploymentStatus, Failure, Phase, Replica
from modelyard.domain.gates import AgreementGate, Gate, ManualGate, MetricGate
from modelyard.domain.judging import Seen
from modelyard.domain.rollout_shares import needed, wanted
from modelyard.domain.rollout_status import RolloutStatus, Stand, Tally
from modelyard.domain.strategy import Kind

LOOK_SECONDS = 2.0
"""How often the revisions are compared, at most."""

GATE_FAILED = "GateFailed"
ABORTED = "RolloutAborted"


def advance(
    deployment: Deployment, replicas: Sequence[Replica], seen: Seen | None, *, now: float
) -> DeploymentStatus:
    """The status with the rollout as far as it is now; `seen` is what was found since the last look, if any.

    Level-triggered: from the same facts it answers the same, and one look later it goes on from what was
    recorded. A rollout begins by itself when a revision is wanted that is not the good one.
    """
    before = deployment.status.rollout
    rollout = _current(deployment, now)
    if rollout is None:
        return replace(deployment.status, rollout=_faded(before, deployment, replicas))
    if deployment.status.failed_revision == rollout.revision:
        why = deployment.status.failed
        return _back(deployment, rollout, why or Failure(reason=GATE_FAILED), by="its replicas")
    order = deployment.order if deployment.order.revision == rollout.revision else None
    if order and order.aborted:
        why = Failure(reason=ABORTED, message=f"aborted by {order.by}")
        return _back(deployment, rollout, why, by=order.by)
    if seen is not None:
        rollout = _judged(deployment, rollout, replicas, seen, now)
    failed = next((tally for tally in rollout.tallies if tally.failed), None)
    if failed is not None:
        why = Failure(reason=GATE_FAILED, message=f"{failed.gate}: {failed.message}")
        return _back(deployment, rollout, why, by=failed.gate)
    if order and order.paused:
        message = f"paused by {order.by} at {rollout.weight(rollout.revision)} %"
        return replace(deployment.status, rollout=replace(rollout, stand=Stand.PAUSED, message=message))
    if wanted(deployment) == 0:
        # Nothing proves itself while it is offline or asleep.
        message = "no replica is wanted now; it goes on once there is one"
        return replace(deployment.status, rollout=replace(rollout, message=message))
    # A clock that was set back must not hold a step until it has caught up.
    rollout = replace(rollout, stand=_stand(deployment, rollout), since=min(rollout.since, now))
    rollout = _onward(deployment, rollout, replicas, now)
    good = rollout.revision if rollout.stand is Stand.PROMOTED else deployment.status.good_revision
    return replace(deployment.status, rollout=rollout, good_revision=good)


def active(deployment: Deployment) -> RolloutStatus | None:
    """The rollout that is under way; None when there is none, or it is of a revision that is not wanted."""
    rollout = deployment.status.rollout
    mine = rollout is not None and rollout.revision == deployment.wanted_revision and not rollout.is_over
    return rollout if mine and not deployment.deleting else None


def is_due(deployment: Deployment, *, now: float) -> bool:
    """Whether it is time to look at what the revisions do."""
    rollout = active(deployment)
    return (
        rollout is not None
        and wanted(deployment) > 0
        and _is_judged(deployment, rollout)
        and not 0 <= now - rollout.judged_until < LOOK_SECONDS
    )


def look_again_seconds(deployment: Deployment, *, now: float) -> float | None:
    """After how long the rollout may go on by time alone; None when none is under way, or it waits."""
    rollout = active(deployment)
    if rollout is None or wanted(deployment) == 0:
        return None
    if not _is_judged(deployment, rollout):
        return LOOK_SECONDS
    return min(max(rollout.judged_until + LOOK_SECONDS - now, 0.05), LOOK_SECONDS)


def _begun(text: str, gate: Gate) -> Tally:
    """What has seen nothing yet; without a number of its own a gate lets no step pass."""
    return Tally(gate=text, waits=isinstance(gate, AgreementGate | MetricGate))


def _is_judged(deployment: Deployment, rollout: RolloutStatus) -> bool:
    """Whether the new revision gets requests yet."""
    return bool(rollout.since) or deployment.spec.strategy.kind is Kind.ROLLING


def _current(deployment: Deployment, now: float) -> RolloutStatus | None:
    """The rollout that is under way, or that begins now; None when there is nothing to roll out."""
    status, newest = deployment.status, deployment.revision
    known, order, strategy = status.rollout, deployment.order, deployment.spec.strategy
    plain = strategy.is_plain or (order.plain and order.revision == newest)
    if known is not None and known.revision == newest:
        return None if known.is_over or deployment.deleting or plain else known
    nothing = deployment.deleting or wanted(deployment) == 0 or status.failed_revision == newest
    if plain or nothing or status.good_revision in (0, newest):
        return None
    weights = () if strategy.kind is Kind.ROLLING else ((status.good_revision, 100), (newest, 0))
    return RolloutStatus(
        base=status.good_revision,
        revision=newest,
        weights=weights,
        started_at=now,
        judged_until=now,
        tallies=tuple(_begun(text, gate) for text, gate in strategy.judges.items()),
        message="its replicas are starting",
    )


def _faded(
    rollout: RolloutStatus | None, deployment: Deployment, replicas: Sequence[Replica]
) -> RolloutStatus | None:
    """What is left of the last rollout: its weights go once nothing is there that they keep requests from."""
    if rollout is None or deployment.deleting:
        return rollout
    superseded = rollout.revision != deployment.revision
    if not rollout.is_over and superseded:
        return _base_again(rollout, f"revision {deployment.revision} took its place", by="a later change")
    if not rollout.is_over:
        # The strategy was edited: nothing is judged any more, and the revision goes on replacing the other.
        return None
    if rollout.stand is Stand.PROMOTED:
        unwanted = any(r.revision != rollout.revision for r in replicas) and not superseded
    else:
        unwanted = any(r.revision == rollout.revision for r in replicas)
    return rollout if unwanted else replace(rollout, weights=())


def _base_again(rollout: RolloutStatus, message: str, *, by: str) -> RolloutStatus:
    weights = ((rollout.base, 100), (rollout.revision, 0)) if rollout.weights else ()
    return replace(rollout, stand=Stand.ROLLED_BACK, weights=weights, message=message, decided_by=by)


def _back(deployment: Deployment, rollout: RolloutStatus, why: Failure, *, by: str) -> DeploymentStatus:
    """The base gets everything again, at once."""
    over = _base_again(rollout, f"{why.reason}: {why.message}", by=by)
    return replace(deployment.status, rollout=over, failed=why, failed_revision=rollout.revision)


def _judged(
    deployment: Deployment, rollout: RolloutStatus, replicas: Sequence[Replica], seen: Seen, now: float
) -> RolloutStatus:
    """With what the gates make of what was seen."""
    known = {tally.gate: tally for tally in rollout.tallies}
    new = [r for r in replicas if r.revision == rollout.revision]
    old = [r for r in replicas if r.revision == rollout.base]
    tallies = tuple(
        judging.judge(gate, known.get(text, _begun(text, gate)), seen, new=new, old=old, now=now)
        for text, gate in deployment.spec.strategy.judges.items()
    )
    requests = rollout.requests + seen.new.requests
    return replace(rollout, tallies=tallies, requests=requests, judged_until=now, tail=seen.tail)


def _stand(deployment: Deployment, rollout: RolloutStatus) -> Stand:
    """Where it is, whether it was paused meanwhile or its steps were edited."""
    stages = deployment.spec.strategy.stages
    percent = stages[min(rollout.step, len(stages) - 1)]
    if not rollout.since or (rollout.weights and rollout.weight(rollout.revision) != percent):
        return Stand.PREPARING
    if rollout.stand is not Stand.PAUSED:
        return rollout.stand
    return Stand.KEEPING if rollout.weights and percent == 100 else Stand.PROGRESSING


def _onward(
    deployment: Deployment, rollout: RolloutStatus, replicas: Sequence[Replica], now: float
) -> RolloutStatus:
    """As many steps as can be taken now."""
    strategy = deployment.spec.strategy
    stages = strategy.stages
    # The steps may have been edited meanwhile.
    rollout = replace(rollout, step=min(rollout.step, len(stages) - 1))
    while True:
        percent = stages[rollout.step]
        if rollout.stand is Stand.PREPARING:
            lack = _lacking(deployment, rollout, replicas)
            if lack:
                return replace(rollout, message=lack)
            rollout = _entered(rollout, percent, now)
        obstacles = list(_obstacles(deployment, rollout, percent, now))
        if obstacles:
            return replace(rollout, message=obstacles[0])
        if rollout.step == len(stages) - 1:
            return _promoted(rollout, now)
        approval = _approval(deployment, rollout, stages[rollout.step + 1])
        if approval:
            return replace(rollout, stand=Stand.AWAITING, message=approval)
        rollout = replace(rollout, step=rollout.step + 1, stand=Stand.PREPARING, requests=0)


def _entered(rollout: RolloutStatus, percent: int, now: float) -> RolloutStatus:
    """A step begins: its part of the requests goes to the new revision, if they are divided at all."""
    weighted = bool(rollout.weights)
    weights = ((rollout.base, 100 - percent), (rollout.revision, percent)) if weighted else ()
    stand = Stand.KEEPING if weighted and percent == 100 else Stand.PROGRESSING
    # Until a step begins nothing was sent on purpose, so nothing before it counts for it.
    until = rollout.judged_until if rollout.since else now
    return replace(rollout, weights=weights, stand=stand, since=now, requests=0, judged_until=until)


def _obstacles(deployment: Deployment, rollout: RolloutStatus, percent: int, now: float) -> Iterator[str]:
    """Why the step is not over yet."""
    strategy = deployment.spec.strategy
    lasted, where = max(now - rollout.since, 0.0), f"at {percent} %"
    if rollout.stand is Stand.KEEPING:
        if lasted < strategy.keep_seconds:
            yield (
                f"revision {rollout.revision} gets all requests; revision {rollout.base} is kept "
                f"for {strategy.keep_seconds:g} s"
            )
        return
    if percent == 0 and not strategy.mirror:
        return
    if rollout.requests < strategy.min_requests:
        yield f"{where}: {rollout.requests} of {strategy.min_requests} requests seen"
    if lasted < strategy.interval_seconds:
        yield f"{where} for {strategy.interval_seconds:g} s"
    for tally in rollout.tallies:
        if tally.waits:
            yield f"{where}: {tally.gate} has seen too little: {tally.message or 'nothing yet'}"


def _approval(deployment: Deployment, rollout: RolloutStatus, following: int) -> str:
    """Whom the next step waits for; empty for nobody."""
    order = deployment.order
    approved = order.approved if order.revision == rollout.revision else 0
    gates = deployment.spec.strategy.judges.values()
    asked = any(isinstance(g, ManualGate) and g.before in (0, following) for g in gates)
    if not asked or approved >= following:
        return ""
    service = deployment.key.service
    return f"waits before {following} %: `modelyard rollout resume {service}` goes on, `abort` goes back"


def _lacking(deployment: Deployment, rollout: RolloutStatus, replicas: Sequence[Replica]) -> str:
    """Which replicas the step still waits for; empty when there are enough."""
    need = needed(deployment, rollout)
    ready = sum(r.phase is Phase.READY and r.revision == rollout.revision for r in replicas)
    return f"{ready} of {need} replicas of revision {rollout.revision} are ready" if ready < need else ""


def _promoted(rollout: RolloutStatus, now: float) -> RolloutStatus:
    numbers = "; ".join(f"{tally.gate}: {tally.message}" for tally in rollout.tallies if tally.message)
    return replace(
        rollout,
        stand=Stand.PROMOTED,
        since=now,
        message=numbers,
        decided_by=rollout.decided_by or "its gates",
    )
