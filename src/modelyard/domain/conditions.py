"""What is said about a deployment: its next status, its conditions, and its state in one word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from modelyard.domain import crashes as crash_records
from modelyard.domain import rollout, scaling
from modelyard.domain.deployment import (
    Condition,
    Crashes,
    Deployment,
    DeploymentStatus,
    Failure,
    Phase,
    Replica,
)
from modelyard.domain.failures import WAITING
from modelyard.domain.placement import Unfit
from modelyard.domain.progress import active
from modelyard.domain.rollout_status import Stand
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from modelyard.domain.views import State

REACHABLE = "BackendReachable"
"""Type of the condition that says that the others are old; there only while they are."""
UNREACHABLE = "BackendUnreachable"

MOST_FAILURES = 3
"""So often a new revision may fail before the good one takes its place again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a reconcile found beside the replicas."""

    actions: tuple[rollout.Action, ...] = ()
    """What `rollout.plan` said for the same observation."""
    routed: frozenset[str] = frozenset()
    runtime: RuntimeStatus | None = None
    """Of the wanted revision's runtime; None when there is no such runtime."""
    unfit: Unfit | None = None
    """Why replicas that are wanted have no place."""
    waits: Failure | None = None
    """Why a replica that was started has no place yet, as what runs it says."""
    gateway: Failure | None = None
    address: Failure | None = None
    """Why it does not answer at one of its own ports."""


def next_status(
    deployment: Deployment, observed: Sequence[Replica], facts: Facts, *, now: float
) -> DeploymentStatus:
    """The status to record after a reconcile: counts, the good and the failed revision, conditions."""
    replicas = rollout.remember(deployment.status.replicas, observed, now=now)
    facts = replace(facts, waits=facts.waits or _waits(replicas))
    failures = {a.replica: a.failure for a in facts.actions if isinstance(a, rollout.Kill) and a.failure}
    wanted, status = deployment.wanted_revision, deployment.status
    whole = _is_whole(deployment, replicas, wanted)
    records = [
        crash_records.count(deployment, replicas, failures, revision=revision, now=now)
        for revision in (wanted, 0 if status.good_revision == wanted else status.good_revision)
    ]
    judged = active(deployment)
    settled = whole or (judged is not None and judged.stand is not Stand.PREPARING)
    progress_since = 0.0 if settled else _progress_since(deployment, replicas, facts, now)
    failed = _failed(deployment, records[0], facts, now - progress_since if progress_since else 0.0)
    standing = status.failed if status.failed_revision == deployment.revision else None
    next_one = replace(
        status,
        observed_generation=deployment.generation,
        replicas=tuple(_after_kill(r, failures) for r in replicas),
        ready_replicas=sum(r.phase is Phase.READY for r in replicas),
        good_revision=wanted if whole and judged is None else status.good_revision,
        failed_revision=deployment.revision if failed or standing else 0,
        failed=failed or standing,
        progress_since=now if failed else progress_since,
        crashes=records[0],
        good_crashes=records[1],
    )
    after = replace(deployment, status=next_one)
    return replace(next_one, conditions=conditions(after, facts, now=now))


def conditions(deployment: Deployment, facts: Facts, *, now: float) -> tuple[Condition, ...]:
    """Ready, Progressing, Scheduled, RuntimeReady, Routed, and Addressed when it lacks an address.

    `since` stays while a statement stays.
    """
    before = {(c.type, c.ok, c.reason): c.since for c in deployment.status.conditions}
    said = (
        _ready(deployment),
        _progressing(deployment, now),
        _scheduled(facts),
        _runtime_ready(facts.runtime),
        _routed(deployment, facts),
        *_addressed(deployment, facts),
        *filter(None, (scaling.condition(deployment),)),
    )
    return tuple(replace(c, since=before.get((c.type, c.ok, c.reason), now)) for c in said)


def unreachable(status: DeploymentStatus, message: str, *, now: float) -> DeploymentStatus:
    """The status while nobody can tell what replicas do: as it was, and that it is old."""
    known = {(c.type, c.reason): c.since for c in status.conditions}
    said = Condition(
        type=REACHABLE,
        ok=False,
        reason=UNREACHABLE,
        message=message,
        since=known.get((REACHABLE, UNREACHABLE), now),
    )
    others = tuple(c for c in status.conditions if c.type != REACHABLE)
    return replace(status, conditions=(*others, said))


def is_stale(status: DeploymentStatus) -> bool:
    """Whether it was recorded that the status is old."""
    return any(c.type == REACHABLE for c in status.conditions)


def state(deployment: Deployment) -> State:
    """The deployment in one word, from its recorded status.

    Running means that what was asked for last answers, and nothing older does any more.
    """
    status, want = deployment.status, rollout.wanted_replicas(deployment)
    said = {c.type: c for c in status.conditions}
    refused = any(c.ok is False for t, c in said.items() if t in ("Progressing", "RuntimeReady"))
    waiting = any(said[t].ok is not True for t in ("Scheduled", "RuntimeReady") if t in said) or not said
    hurt = bool(status.crashes.count) or any(r.phase is Phase.UNREADY for r in status.replicas)
    if deployment.deleting:
        return State.DELETING
    if scaling.starves(deployment):
        return State.PENDING
    if want == 0:
        return State.ASLEEP if scaling.sleeps(deployment) else State.OFFLINE
    if status.ready_replicas == 0:
        return _without_ready(refused=refused, waiting=waiting, hurt=hurt and status.good_revision != 0)
    if status.failed or refused or (hurt and status.ready_replicas < want):
        return State.DEGRADED
    return _with_ready(deployment, said.get("Routed"))


def headline(deployment: Deployment) -> str:
    """One sentence for people: what it waits for or why it failed; empty when all is well."""
    said = {c.type: c for c in deployment.status.conditions}
    order = (REACHABLE, "RuntimeReady", "Scheduled", "Progressing", "Scaled", "Ready", "Routed", "Addressed")
    wrong = [said[t] for t in order if t in said and said[t].ok is not True]
    failed = [c for c in wrong if c.ok is False and c.type != "Ready"]
    return next((c.message for c in (*failed, *wrong)), "")


def progress_deadline_seconds(deployment: Deployment) -> float:
    """How long a rollout may come no nearer to its end: time for two whole attempts."""
    return 2 * (deployment.spec.start_timeout_seconds + rollout.START_GRACE_SECONDS) + 10


def _without_ready(*, refused: bool, waiting: bool, hurt: bool) -> State:
    if refused:
        return State.FAILED
    if waiting:
        return State.PENDING
    return State.DEGRADED if hurt else State.STARTING


def _with_ready(deployment: Deployment, routed: Condition | None) -> State:
    if routed and routed.ok is False:
        return State.DEGRADED
    judged = active(deployment)
    if judged is not None and judged.stand is not Stand.KEEPING:
        return State.ROLLING_OUT
    whole = _is_whole(deployment, deployment.status.replicas, deployment.revision)
    return State.RUNNING if whole and routed and routed.reason == "Routed" else State.STARTING


def _is_whole(deployment: Deployment, replicas: Sequence[Replica], revision: int) -> bool:
    want = rollout.wanted_replicas(deployment)
    return 0 < want <= sum(r.phase is Phase.READY for r in replicas if r.revision == revision)


def _progress_since(deployment: Deployment, replicas: Sequence[Replica], facts: Facts, now: float) -> float:
    """When the rollout last came nearer to its end; waiting for room or for a build is not its fault."""
    status = deployment.status
    building = facts.runtime and facts.runtime.state in (RuntimeState.PENDING, RuntimeState.BUILDING)
    ready, before = (
        sum(r.phase is Phase.READY for r in some if r.revision == deployment.wanted_revision)
        for some in (replicas, status.replicas)
    )
    edited = status.observed_generation != deployment.generation
    idle = rollout.wanted_replicas(deployment) == 0
    anew = not status.progress_since or status.progress_since > now
    moved = ready > before or edited or idle or anew
    return now if moved or building or facts.unfit or facts.waits else status.progress_since


def _failed(deployment: Deployment, record: Crashes, facts: Facts, stuck_seconds: float) -> Failure | None:
    """Why the newest revision is given up now, in favour of the good one; None when it is not."""
    newest, good = deployment.revision, deployment.status.good_revision
    if deployment.wanted_revision != newest or good in (0, newest):
        return None
    limit = progress_deadline_seconds(deployment)
    runtime = facts.runtime
    if runtime and runtime.state is RuntimeState.FAILED and runtime.reason != "IndexUnreachable":
        return Failure(reason=runtime.reason or "RuntimeBuildFailed", message=runtime.message)
    if record.count < MOST_FAILURES and stuck_seconds <= limit:
        return None
    slow = f"revision {newest} did not become ready within {limit:g} s"
    return record.failure or Failure(reason="LoadTimeout", message=slow)


def _after_kill(r: Replica, failures: Mapping[str, Failure]) -> Replica:
    """As it is after the plan's kill, so that its failure is not counted again."""
    return replace(r, phase=Phase.FAILED, failure=failures[r.name]) if r.name in failures else r


def _none_wanted(deployment: Deployment) -> Condition:
    """Why nobody answers though nothing is wrong."""
    taker, short = deployment.claim.yielded_to, scaling.condition(deployment)
    if short is not None and scaling.starves(deployment):
        reason, message = short.reason, short.message
    elif taker:
        reason, message = "TakenOver", f"{taker} has taken its host over"
    elif scaling.sleeps(deployment):
        reason, message = "Asleep", "a request wakes it"
    else:
        reason, message = "Offline", "no replicas are wanted"
    return Condition(type="Ready", ok=False, reason=reason, message=message)


def _ready(deployment: Deployment) -> Condition:
    ready, want = deployment.status.ready_replicas, rollout.wanted_replicas(deployment)
    message = f"{ready} of {want} replicas are ready"
    if want == 0:
        return _none_wanted(deployment)
    if ready >= want:
        return Condition(type="Ready", ok=True, reason="AllReady", message=message)
    return Condition(type="Ready", ok=False, reason="SomeReady" if ready else "NoneReady", message=message)


def _progressing(deployment: Deployment, now: float) -> Condition:
    status, newest = deployment.status, deployment.revision
    record, judged = status.crashes, active(deployment)
    reason, ok, message = "RollingOut", None, f"revision {deployment.wanted_revision} is being rolled out"
    if judged is not None:
        message += f": {judged.message}"
    if status.failed:
        reason, ok = "RolledBack", False
        message = (
            f"revision {newest} failed ({status.failed.reason}: {status.failed.message}); "
            f"revision {status.good_revision} serves instead"
        )
    elif record.count >= MOST_FAILURES and record.failure:
        reason, ok = "CrashLoop", False
        message = f"failed {record.count} times: {record.failure.reason}: {record.failure.message}"
    elif judged is not None and not status.progress_since:
        reason = "".join(word.capitalize() for word in judged.stand.value.split())
    elif not status.progress_since or rollout.wanted_replicas(deployment) == 0:
        reason, ok, message = "RolledOut", True, f"revision {newest} is what runs"
    elif now - status.progress_since > progress_deadline_seconds(deployment):
        limit = f"{progress_deadline_seconds(deployment):g} s"
        reason, ok = "ProgressDeadlineExceeded", False
        message = f"revision {newest} came no nearer to being ready for {limit}"
    return Condition(type="Progressing", ok=ok, reason=reason, message=message)


def _scheduled(facts: Facts) -> Condition:
    if facts.unfit is None and facts.waits is not None:
        reason, message = facts.waits.reason, facts.waits.message
        return Condition(type="Scheduled", ok=False, reason=reason, message=message)
    if facts.unfit is None:
        return Condition(type="Scheduled", ok=True, reason="Scheduled")
    return Condition(type="Scheduled", ok=False, reason="InsufficientResources", message=facts.unfit.message)


def _waits(replicas: Sequence[Replica]) -> Failure | None:
    """What the first of those that have no place says."""
    said = (r.failure for r in replicas if r.phase is Phase.STARTING and r.failure is not None)
    return next((failure for failure in said if failure.reason in WAITING), None)


def _runtime_ready(runtime: RuntimeStatus | None) -> Condition:
    if runtime is None:
        message = "the runtime of this revision does not exist"
        return Condition(type="RuntimeReady", ok=False, reason="RuntimeMissing", message=message)
    match runtime.state:
        case RuntimeState.READY:
            return Condition(type="RuntimeReady", ok=True, reason="RuntimeReady")
        case RuntimeState.FAILED:
            reason = runtime.reason or "RuntimeBuildFailed"
            return Condition(type="RuntimeReady", ok=False, reason=reason, message=runtime.message)
        case RuntimeState.PENDING | RuntimeState.BUILDING:
            message = runtime.message or "the runtime is being built"
            return Condition(type="RuntimeReady", ok=None, reason="RuntimeBuilding", message=message)


def _addressed(deployment: Deployment, facts: Facts) -> Iterator[Condition]:
    """What keeps it from an address that it asked for; nothing when it has them all."""
    if facts.address:
        reason, message = facts.address.reason, facts.address.message
        yield Condition(type="Addressed", ok=False, reason=reason, message=message)
    elif deployment.claim.lapsed:
        yield Condition(type="Addressed", ok=False, reason="HostKept", message=deployment.claim.lapsed)


def _routed(deployment: Deployment, facts: Facts) -> Condition:
    """Whether the gateway sends requests to everything that is ready."""
    if facts.gateway:
        return Condition(type="Routed", ok=False, reason=facts.gateway.reason, message=facts.gateway.message)
    replicas, wanted = deployment.status.replicas, deployment.wanted_revision
    ready = {r.name for r in replicas if r.phase is Phase.READY}
    if not ready:
        return Condition(type="Routed", ok=False, reason="NothingReady", message="no replica is ready")
    known = len(ready & facts.routed)
    older = {r.name for r in replicas if r.revision != wanted and active(deployment) is None}
    if known == len(ready) and not older & facts.routed:
        return Condition(type="Routed", ok=True, reason="Routed")
    message = f"the gateway has taken up {known} of {len(ready)} ready replicas"
    if older & facts.routed:
        message += f" and still knows {len(older & facts.routed)} of earlier revisions"
    return Condition(type="Routed", ok=bool(known) or None, reason="Publishing", message=message)
