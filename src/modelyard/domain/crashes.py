"""How often a revision's replicas fail, and how long to wait before the next try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelyard.domain.deployment import Crashes, Deployment, Failure, Phase, Replica

STEADY_SECONDS = 10.0
"""A replica that was ready for so long is sound: its next failure counts as the first."""

LONGEST_SECONDS = 60.0
"""The back-off grows no longer than this."""

PREEMPTED = "Preempted"
"""Why one ended that did nothing wrong: it gave way, and the next one waits for room."""

_ENDED = (Phase.FAILED, Phase.DRAINING, Phase.STOPPING)


def record(deployment: Deployment, revision: int) -> Crashes:
    """What is remembered of a revision's failures."""
    status = deployment.status
    known = (status.crashes, status.good_crashes)
    return next((c for c in known if c.revision == revision), Crashes(revision=revision))


def count(
    deployment: Deployment,
    replicas: Sequence[Replica],
    failures: Mapping[str, Failure],
    *,
    revision: int,
    now: float,
) -> Crashes:
    """The revision's record once `failures` (replica name to why) came to light.

    A failure counts once, however often it is seen, and several in one look count as one.
    """
    before = record(deployment, revision)
    own = [r for r in replicas if r.revision == revision]
    guilty = [r for r in own if r.name in failures and failures[r.name].reason != PREEMPTED]
    failing = [(r, _before(r, deployment)) for r in guilty]
    fresh = [(r, was) for r, was in failing if _is_news(was)]
    if fresh:
        was_steady = all(_steady(was, now) for _, was in fresh)
        number = 1 if was_steady else before.count + 1
        return Crashes(revision=revision, count=number, last_at=now, failure=failures[fresh[0][0].name])
    if before.count and own and all(_steady(r, now) for r in own):
        return Crashes(revision=revision)
    return before


def wait_seconds(crashes: Crashes, now: float) -> float:
    """How long the next start must still wait: none after the first failure, then 1, 2, 4 … 60 s."""
    if crashes.count < 2:
        return 0.0
    delay = min(2.0 ** min(crashes.count - 2, 30), LONGEST_SECONDS)
    # A clock that was set back must not freeze the deployment until it has caught up.
    return 0.0 if now < crashes.last_at else max(crashes.last_at + delay - now, 0.0)


def until_steady(crashes: Crashes, replicas: Sequence[Replica], now: float) -> tuple[float, ...]:
    """After how long each ready replica of the revision will have outlived its failures; none without any."""
    own = [r for r in replicas if r.revision == crashes.revision and r.phase is Phase.READY]
    waits = [r.phase_since + STEADY_SECONDS - now for r in own]
    return tuple(wait for wait in waits if wait > 0) if crashes.count else ()


def _before(r: Replica, deployment: Deployment) -> Replica | None:
    """The same replica as it was recorded last; a backend may no longer know when a dead one started."""
    was = next((b for b in deployment.status.replicas if b.name == r.name), None)
    return was if was and (was.started_at == r.started_at or 0.0 in (was.started_at, r.started_at)) else None


def _is_news(before: Replica | None) -> bool:
    """Not counted yet, and not one that was leaving anyway."""
    return before is None or before.phase not in _ENDED


def _steady(replica: Replica | None, now: float) -> bool:
    return (
        replica is not None and replica.phase is Phase.READY and now - replica.phase_since >= STEADY_SECONDS
    )
