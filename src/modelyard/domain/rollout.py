"""How a deployment moves towards its spec. Pure: facts in, actions out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice

from modelyard.domain import crashes, failures, naming, rollout_shares, scaling
from modelyard.domain.deployment import Deployment, Failure, Phase, Replica
from modelyard.domain.health import READINESS_FAILED
from modelyard.domain.placement import Placement
from modelyard.domain.progress import active

START_GRACE_SECONDS = 10.0
"""How long past its start timeout a replica may still say itself why it does not load."""

STOP_GRACE_SECONDS = 5.0
"""How long past its drain time a stopping replica may take to exit."""

UNRESPONSIVE_SECONDS = 10.0
"""How long a front may be silent before its replica is replaced."""


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a replica of a revision at a place that has room for it."""

    replica: str
    revision: int
    placement: Placement


@dataclass(frozen=True, slots=True)
class Drain:
    """Mark a replica as leaving: the gateway stops choosing it while it goes on answering."""

    replica: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell a replica to finish what it has and exit."""

    replica: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End what is left of a replica at once."""

    replica: str
    failure: Failure | None = None
    """Why, when it failed; None for one that was leaving and took too long."""


_POLL_SECONDS = 0.5
_UNEXPLAINED = Failure(reason="StartFailed", message="the replica ended without saying why")
_STUCK = Failure(reason="WorkerHung", message="the replica did not become ready again")

Action = Start | Drain | Stop | Kill


def plan(
    deployment: Deployment,
    observed: Sequence[Replica],
    *,
    routed: frozenset[str],
    now: float,
    launches: Mapping[int, Sequence[Placement]],
) -> tuple[Action, ...]:
    """The next steps; empty when there is nothing to do but wait.

    Level-triggered: it depends only on the spec, the recorded status and on what is there now, so it may be
    called at any time, any number of times, by anyone. `routed` are the replicas that the gateway may still
    send requests to; `launches` are the places that fit now, by revision (the wanted one, and the good one
    while it differs; nothing for a revision whose runtime is not ready). Actions are in order of execution.
    """
    replicas = remember(deployment.status.replicas, observed, now=now)
    scene = _Scene.of(deployment, replicas, routed, now)
    kills = tuple(_kills(deployment, replicas, routed, now))
    leave = tuple(_leave(scene, {kill.replica for kill in kills}))
    return (*kills, *leave, *_starts(deployment, scene, kills, launches=launches, now=now))


def remember(previous: Sequence[Replica], observed: Sequence[Replica], *, now: float) -> tuple[Replica, ...]:
    """The observed replicas, with when each was first seen in its phase, from what was recorded before."""
    before = {(r.name, r.started_at, r.phase): r.phase_since for r in previous}
    return tuple(
        replace(r, phase_since=min(before.get((r.name, r.started_at, r.phase), now), now)) for r in observed
    )


def look_again_seconds(deployment: Deployment, observed: Sequence[Replica], *, now: float) -> float | None:
    """After how long time alone may change the plan; None when only a change in the world can.

    `deployment` carries the status that was just recorded, so that its back-off counts.
    """
    replicas = remember(deployment.status.replicas, observed, now=now)
    due = [limit - age for r in replicas for age, limit in _patience(deployment, r, now)]
    due += [_POLL_SECONDS for r in replicas if r.phase in (Phase.DRAINING, Phase.FAILED)]
    records = (deployment.status.crashes, deployment.status.good_crashes)
    due += [wait for wait in (crashes.wait_seconds(record, now) for record in records) if wait]
    due += [wait for record in records for wait in crashes.until_steady(record, replicas, now)]
    return min((seconds if seconds > 0 else _POLL_SECONDS for seconds in due), default=None)


def wanted_replicas(deployment: Deployment) -> int:
    """How many replicas there should be."""
    return scaling.wanted(deployment)


@dataclass(frozen=True, slots=True)
class _Scene:
    """The observed replicas by what they mean for the rollout, least useful first."""

    total: int
    """How many serve all requests."""
    want: int
    """Of the wanted revision: all, or what a step of its rollout takes."""
    least_old: int
    """So many of other revisions stay, however many new ones are ready."""
    most: int
    """No more than these live at once."""
    target: int
    routed: frozenset[str]
    replicas: tuple[Replica, ...]
    new: tuple[Replica, ...]
    """Of the wanted revision, and staying."""
    old: tuple[Replica, ...]
    """Of other revisions, and not yet leaving."""

    @classmethod
    def of(
        cls, deployment: Deployment, replicas: tuple[Replica, ...], routed: frozenset[str], now: float
    ) -> _Scene:
        """Sort the replicas out."""
        staying = [r for r in replicas if r.phase in (Phase.STARTING, Phase.READY, Phase.UNREADY)]
        staying.sort(key=lambda r: r.name, reverse=True)
        staying.sort(key=lambda r: (r.phase is Phase.STARTING, r.revision == deployment.status.good_revision))
        staying.sort(key=lambda r: (r.phase is Phase.READY, r.name in routed))
        target = deployment.wanted_revision
        want, least_old = _sizes(deployment, now)
        return cls(
            total=wanted_replicas(deployment),
            want=want,
            least_old=least_old,
            most=max(wanted_replicas(deployment) + deployment.spec.max_surge, want + least_old),
            target=target,
            routed=routed,
            replicas=replicas,
            new=tuple(r for r in staying if r.revision == target),
            old=tuple(r for r in staying if r.revision != target),
        )

    @property
    def keep_new(self) -> int:
        """How many new ones must stay: more than a step takes, while the old ones cannot serve everything."""
        serving = sum(r.phase is Phase.READY and r.name in self.routed for r in self.old)
        return max(self.want, self.total - serving)

    @property
    def keep_old(self) -> int:
        """How many old ones must stay: a new one relieves an old one once the gateway has taken it up."""
        serving = sum(r.phase is Phase.READY and r.name in self.routed for r in self.new)
        return max(self.want - serving, self.least_old)


def _sizes(deployment: Deployment, now: float) -> tuple[int, int]:
    """Replicas of the wanted revision, and those of earlier ones that stay beside them."""
    want, judged = wanted_replicas(deployment), active(deployment)
    if judged is None or not judged.weights:
        return want, 0
    return rollout_shares.needed(deployment, judged), rollout_shares.kept(deployment, judged, now=now)


def _kills(
    deployment: Deployment, replicas: Sequence[Replica], routed: frozenset[str], now: float
) -> Iterator[Kill]:
    """What has failed, and what has used up its time."""
    for r in replicas:
        overdue = any(age > limit for age, limit in _patience(deployment, r, now))
        if r.phase is Phase.FAILED:
            yield Kill(r.name, r.failure or _UNEXPLAINED)
        elif overdue and r.phase is Phase.STOPPING:
            yield Kill(r.name)
        elif overdue and r.phase is Phase.STARTING:
            seconds = deployment.spec.start_timeout_seconds
            message = f"the model did not load within {seconds:g} s"
            if r.failure is not None:
                message += f": {r.failure.message}"
            yield Kill(r.name, Failure(reason=_late(r), message=message))
        elif overdue and r.name not in routed:
            yield Kill(r.name, r.failure or _STUCK)


def _late(r: Replica) -> str:
    """Why it did not become ready in time: what it said itself, if that kept it from loading at all."""
    said = r.failure.reason if r.failure is not None else ""
    return said if failures.is_before_loading(said) else "LoadTimeout"


def _patience(deployment: Deployment, r: Replica, now: float) -> Iterator[tuple[float, float]]:
    """How many seconds the replica has been in a phase that must end, and how many it may be."""
    loading = deployment.spec.start_timeout_seconds + START_GRACE_SECONDS
    match r.phase:
        case Phase.STARTING if r.waits or (r.failure is not None and r.failure.reason in failures.WAITING):
            return
        case Phase.STARTING:
            yield _age(r.started_at, r, now), loading
        case Phase.UNREADY if r.failure is not None and r.failure.reason == READINESS_FAILED:
            return  # its user asked for no requests while the probe fails, not for another replica
        case Phase.UNREADY:
            silent = r.failure is not None and r.failure.reason == "FrontUnresponsive"
            yield _age(r.phase_since, r, now), UNRESPONSIVE_SECONDS if silent else loading
        case Phase.STOPPING:
            yield _age(r.stopping_since, r, now), deployment.spec.drain_seconds + STOP_GRACE_SECONDS
        case Phase.READY | Phase.DRAINING | Phase.FAILED:
            return


def _age(claimed: float, r: Replica, now: float) -> float:
    """Seconds since `claimed`; since the phase was first seen when that is unknown or in the future."""
    return now - (claimed if 0 < claimed <= now else r.phase_since)


def _leave(scene: _Scene, killed: set[str]) -> Iterator[Action]:
    """Take one step with everything that has to go: drain, and stop what gets no requests any more."""
    surplus = [*scene.new[: max(len(scene.new) - scene.keep_new, 0)]]
    surplus += scene.old[: max(len(scene.old) - scene.keep_old, 0)]
    for r in surplus:
        if r.name in killed:
            continue
        # One that never answered can stop at once; the others must first be out of the gateway's hands.
        yield Stop(r.name) if r.phase is Phase.STARTING and r.name not in scene.routed else Drain(r.name)
    for r in scene.replicas:
        if r.phase is Phase.DRAINING and r.name not in scene.routed:
            yield Stop(r.name)


def _starts(
    deployment: Deployment,
    scene: _Scene,
    kills: Sequence[Kill],
    *,
    launches: Mapping[int, Sequence[Placement]],
    now: float,
) -> tuple[Start, ...]:
    """New replicas of the wanted revision; else the good one's, while it must stand in for the wanted."""
    failed = {kill.replica: kill.failure for kill in kills if kill.failure}
    live = sum(r.phase is not Phase.FAILED for r in scene.replicas)
    room = scene.most - live
    taken = scene.routed.union(r.name for r in chain(scene.replicas, deployment.status.replicas))
    lacking = [(scene.target, scene.want - len(scene.new))]
    good = deployment.status.good_revision
    if good not in (0, scene.target):
        lacking.append((good, scene.keep_old - len(scene.old)))
    for revision, missing in lacking:
        record = crashes.count(deployment, scene.replicas, failed, revision=revision, now=now)
        held_back = crashes.wait_seconds(record, now) > 0
        places = launches.get(revision, ())[: 0 if held_back else max(min(missing, room), 0)]
        if places:
            names = islice(_names(deployment, revision, taken), len(places))
            return tuple(Start(name, revision, place) for name, place in zip(names, places, strict=True))
    return ()


def _names(deployment: Deployment, revision: int, taken: frozenset[str]) -> Iterator[str]:
    """Deterministic names, so that starting twice collides instead of duplicating."""
    for ordinal in count():
        name = naming.replica_name(deployment.key.label, id=deployment.id, revision=revision, ordinal=ordinal)
        if name not in taken:
            yield name
