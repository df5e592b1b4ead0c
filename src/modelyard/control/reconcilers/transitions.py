"""What changed between two looks at a deployment, what of it is worth an event, and when to look again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from modelyard.control.deployments import WORKER_RESTARTED
from modelyard.control.loop import Again
from modelyard.domain import progress, rollout, rollout_shares, scaling, takeover
from modelyard.domain.conditions import Facts, is_stale
from modelyard.domain.deployment import Condition, Deployment, DeploymentStatus, Failure, Phase, Replica
from modelyard.domain.progress import ABORTED, active
from modelyard.domain.rollout import Action, Kill, Start
from modelyard.domain.rollout_shares import Part
from modelyard.domain.rollout_status import RolloutStatus, Stand
from modelyard.gateway import routes

AT_ONCE = Again(0.02)
"""Something was done: see at once what came of it."""

QUICKEST_SECONDS = 0.1
"""Nothing that waits for the world is looked at more often."""

SLOWEST_SECONDS = 1.0
"""Nothing that waits for the world is looked at more rarely."""


def is_ready(replica: Replica) -> bool:
    """Whether it answers and is not leaving."""
    return replica.phase is Phase.READY


def at_rest(deployment: Deployment, observed: Sequence[Replica]) -> bool:
    """Whether the recorded status says that all is well, and the world is still as recorded."""
    status, said = deployment.status, {c.type: c.ok for c in deployment.status.conditions}
    routed = any(c.type == "Routed" and c.reason == "Routed" for c in status.conditions)
    return (
        not deployment.deleting
        and status.observed_generation == deployment.generation
        and not status.crashes.count
        and (status.rollout is None or (status.rollout.is_over and not status.rollout.weights))
        and status.good_revision == deployment.wanted_revision == deployment.revision
        and said.get("Addressed") is None
        and scaling.told(deployment)
        and not is_stale(status)
        and bool(routed and said.get("Ready") and said.get("Progressing"))
        and scaling.permitted(deployment) == scaling.asked(deployment)
        and [_essence(r) for r in observed] == [_essence(r) for r in status.replicas]
        and len(observed) == rollout.wanted_replicas(deployment)
        and all(is_ready(r) and r.revision == deployment.wanted_revision for r in observed)
    )


def rest(deployment: Deployment, seconds: float) -> Again:
    """The next full look at a deployment at rest, spread so that a thousand do not come at once."""
    share = zlib.crc32(str(deployment.key).encode()) % 1000 / 1000
    return Again(seconds * (0.75 + share / 2))


def differ(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    """Whether the status is worth storing: not for a few bytes of memory more or less."""
    return _stable(before) != _stable(after)


def routes_differ(before: Deployment, after: Deployment) -> bool:
    """Whether the gateway has to hear of it."""
    edited = before.status.observed_generation != after.status.observed_generation
    one, other = (
        [(r.name, r.address, r.second_address) for r in d.status.replicas if routes.serves(r)]
        for d in (before, after)
    )
    divided, after_all = (rollout_shares.parts(d, serves=routes.serves) for d in (before, after))
    moved = _stand(before) != _stand(after) or _weights(divided) != _weights(after_all)
    return edited or moved or one != other or _contends_otherwise(before, after)


def _contends_otherwise(before: Deployment, after: Deployment) -> bool:
    """Whether it stands differently in the fight for a host that somebody wrote down."""
    return bool(after.spec.address.host) and takeover.claimant(before, "") != takeover.claimant(after, "")


def _stand(deployment: Deployment) -> tuple[Stand | None, bool]:
    """Where its rollout stands, which decides whether requests are mirrored."""
    rollout = deployment.status.rollout
    return (rollout.stand, bool(rollout.since)) if rollout is not None else (None, False)


def _weights(parts: Sequence[Part]) -> list[tuple[int, int]]:
    return [(part.revision, part.weight) for part in parts]


def unstarted(name: str, revision: int, failure: Failure, *, now: float) -> Replica:
    """A replica that could not be started, for the record."""
    return Replica(name=name, revision=revision, phase=Phase.FAILED, started_at=now, failure=failure)


def events(before: Deployment, after: Deployment, actions: Sequence[Action]) -> Iterator[tuple[str, str]]:
    """Reason and message of everything that is worth remembering."""
    for action in actions:
        match action:
            case Start(replica, revision, _):
                yield "ReplicaStarted", f"{replica} of revision {revision}"
            case Kill(replica, Failure(reason=reason, message=message)):
                yield "ReplicaFailed", f"{reason}: {message} ({replica})"
    old, new = before.status, after.status
    yield from _restarts(old, new)
    yield from _limited(old, new)
    yield from _steps(old.rollout, new.rollout)
    if new.good_revision != old.good_revision:
        yield "RolledOut", f"revision {new.good_revision} is wholly ready"
    if new.failed is not None and old.failed != new.failed:
        words = f"{new.failed.reason}: {new.failed.message}"
        aborted = new.failed.reason == ABORTED
        what = "RolledBack" if aborted else "RolledBackByItself"
        yield what, f"revision {after.revision} failed ({words}); {new.good_revision} serves"
    if is_stale(old) and not is_stale(new):
        yield "BackendReachable", "what runs the replicas answers again"
    if (why := _unscheduled(new)) and why != _unscheduled(old):
        yield "Pending", why


def pause(
    after: Deployment, observed: Sequence[Replica], facts: Facts, *, now: float, rest_seconds: float
) -> Again:
    """When to look again: at once after acting, often while something moves, rarely at rest."""
    if facts.actions:
        return AT_ONCE
    moving = _moving(after, facts, now)
    if moving is not None:
        return Again(moving)
    due = min(
        filter(
            None,
            (
                rollout.look_again_seconds(after, observed, now=now),
                progress.look_again_seconds(after, now=now),
            ),
        ),
        default=None,
    )
    resting = rest(after, rest_seconds)
    return Again(min(max(due, 0.05), resting.after)) if due is not None else resting


def _moving(deployment: Deployment, facts: Facts, now: float) -> float | None:
    """Seconds to the next look while something is under way; None at rest."""
    status, want = deployment.status, rollout.wanted_replicas(deployment)
    if facts.unfit is not None:
        return SLOWEST_SECONDS
    unrouted = {r.name for r in status.replicas if is_ready(r)} - facts.routed
    moving = [r for r in status.replicas if not is_ready(r)]
    complete = status.ready_replicas == want or active(deployment) is not None
    if not moving and not unrouted and complete:
        # What others leave of the project's quota comes without a word.
        return SLOWEST_SECONDS if scaling.permitted(deployment) < scaling.asked(deployment) else None
    # What takes long is looked at less often: a tenth of its age. The gateway's part comes with a hint.
    waiting = moving or [r for r in status.replicas if r.name in unrouted]
    ages = [now - r.phase_since for r in waiting if r.phase_since]
    slowest = SLOWEST_SECONDS / 4 if moving else SLOWEST_SECONDS
    return min(max(0.1 * min(ages, default=0.0), QUICKEST_SECONDS), slowest)


def _limited(old: DeploymentStatus, new: DeploymentStatus) -> Iterator[tuple[str, str]]:
    """Whether the project's quota began or ceased to leave it fewer replicas than it wants."""
    if new.scaling.allowed >= 0 > old.scaling.allowed:
        yield "QuotaExceeded", new.scaling.quota
    if old.scaling.allowed >= 0 > new.scaling.allowed:
        yield "QuotaBack", "there is room in the project's quota again"


def _steps(old: RolloutStatus | None, new: RolloutStatus | None) -> Iterator[tuple[str, str]]:
    """How a judged rollout went on."""
    if new is None:
        return
    begun = old is None or old.revision != new.revision
    if begun and not new.is_over:
        yield "RolloutStarted", f"revision {new.revision} is to take over from revision {new.base}"
    before = old.weight(new.revision) if old is not None and not begun else 0
    share = new.weight(new.revision)
    if not new.is_over and share > before:
        yield "RolloutStep", f"revision {new.revision} gets {share} % of the requests"
    if new.stand is Stand.AWAITING and (old is None or old.stand is not Stand.AWAITING):
        yield "RolloutAwaitsApproval", new.message
    if new.stand is Stand.PROMOTED and old is not None and old.stand is not Stand.PROMOTED:
        yield "Promoted", f"revision {new.revision}: {new.message}"[:2000]


def _restarts(old: DeploymentStatus, new: DeploymentStatus) -> Iterator[tuple[str, str]]:
    """Workers that died under a replica that goes on."""
    known = {r.name: r.worker_restarts for r in old.replicas}
    for r in new.replicas:
        if r.failure is not None and r.phase is not Phase.FAILED and r.worker_restarts > known.get(r.name, 0):
            yield WORKER_RESTARTED, f"{r.failure.reason}: {r.failure.message} ({r.name})"


def _essence(replica: Replica) -> Replica:
    return replace(replica, memory_bytes=0, loaded_bytes=0, peak_bytes=0, phase_since=0.0)


def _stable(status: DeploymentStatus) -> DeploymentStatus:
    rounded = tuple(
        replace(
            r,
            memory_bytes=r.memory_bytes >> 24,
            loaded_bytes=r.loaded_bytes >> 24,
            peak_bytes=r.peak_bytes >> 24,
        )
        for r in status.replicas
    )
    return replace(status, replicas=rounded)


def _unscheduled(status: DeploymentStatus) -> str:
    said: Condition | None = next((c for c in status.conditions if c.type == "Scheduled"), None)
    return said.message if said is not None and said.ok is False else ""
