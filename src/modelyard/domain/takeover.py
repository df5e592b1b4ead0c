"""Who has a host that several services want: the newest that is ready, and the others go offline.

A service claims its host when it goes online, or when its host changes; while it stays online with the same
host, no update and no restart makes its claim newer. Only a host that somebody wrote down is fought for: two
automatic ones that happen to be equal leave each other alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from modelyard.domain import rollout
from modelyard.domain.deployment import Claim, Deployment, Key

MOST_FAILURES = 3
"""So often a new one may fail before it gives up a host that somebody else serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """One service and what it wants to be called."""

    key: Key
    id: int
    host: str
    """With the stage's prefix, as the gateway matches it."""
    explicit: bool
    """Whether a user wrote the host down, rather than the platform."""
    at: float
    """When it claimed it."""
    online: bool
    """Whether it wants replicas, and did not go offline for somebody else."""
    ready: int
    """Replicas that are ready."""
    whole: bool
    """Whether as many are ready as are wanted, of the newest revision."""
    failure: str = ""
    """Why it does not become ready, once that is certain."""
    lapsed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What is decided about one host."""

    host: str
    owner: Key
    """Who gets its requests."""
    yields: tuple[Key, ...] = ()
    """Who goes offline once the gateway sends the host's requests to the owner."""
    lapses: tuple[tuple[Key, str], ...] = ()
    """Whose claim ends without having been fulfilled, and why."""
    rivals: tuple[Key, ...] = ()
    """Who else wants the host or had it; whoever calls them there calls the owner now."""

    @property
    def quiet(self) -> bool:
        """Whether nothing has to be done for it."""
        return not self.yields and not self.lapses


def claimed(deployment: Deployment, *, now: float) -> Deployment:
    """The deployment after a user changed it: with a new claim when it goes online or wants another host."""
    claim, wanted = deployment.claim, deployment.spec.address.host
    if deployment.spec.replicas == 0:
        return replace(deployment, claim=Claim(at=claim.at, host=wanted, online=False))
    same = claim.online and claim.host == wanted and not claim.yielded_to and not claim.lapsed
    return deployment if same else replace(deployment, claim=Claim(at=now, host=wanted, online=True))


def claimant(deployment: Deployment, host: str) -> Claimant:
    """What a deployment wants, from what is stored about it."""
    status, want = deployment.status, rollout.wanted_replicas(deployment)
    newest = sum(r.phase == "ready" for r in status.replicas if r.revision == deployment.revision)
    return Claimant(
        key=deployment.key,
        id=deployment.id,
        host=host,
        explicit=bool(deployment.spec.address.wish.domain),
        at=deployment.claim.at,
        online=deployment.spec.replicas > 0 and not deployment.claim.yielded_to and not deployment.deleting,
        ready=status.ready_replicas,
        whole=0 < want <= newest,
        failure=_failure(deployment),
        lapsed=bool(deployment.claim.lapsed),
    )


def settle(claimants: Iterable[Claimant]) -> dict[str, Settlement]:
    """Who has each host, and what follows for the others."""
    ordered = sorted(claimants, key=lambda c: c.host)
    return {host: _settled(host, tuple(group)) for host, group in groupby(ordered, key=lambda c: c.host)}


def _settled(host: str, group: Sequence[Claimant]) -> Settlement:
    if not any(c.explicit for c in group):
        # `test.a.service.DOMAIN` is both the test stage of `a` and the service `test` of project `a`.
        return Settlement(
            host=host, owner=min(group, key=lambda c: (c.key.stage != "production", str(c.key))).key
        )
    online = sorted((c for c in group if c.online), key=lambda c: (c.lapsed, -c.at, -c.id))
    if not online:
        last = max(group, key=lambda c: (c.at, c.id)).key
        return Settlement(host=host, owner=last, rivals=_others(group, last))
    contenders = [c for c in online if not c.lapsed] or online
    owner = next((c for c in contenders if c.whole), None)
    if owner is None:
        # Nobody is whole: whoever answers at all, and of several the one that had it longest.
        answering = [c for c in reversed(contenders) if c.ready] or [c for c in online if c.ready]
        owner = answering[0] if answering else contenders[-1]
    return Settlement(
        host=host,
        owner=owner.key,
        yields=tuple(c.key for c in online if owner.whole and _is_older(c, owner)),
        rivals=_others(group, owner.key),
        lapses=tuple((c.key, c.failure) for c in contenders if _gives_up(c, owner)),
    )


def _others(group: Sequence[Claimant], owner: Key) -> tuple[Key, ...]:
    return tuple(c.key for c in group if c.key != owner)


def _is_older(one: Claimant, other: Claimant) -> bool:
    return (one.at, one.id) < (other.at, other.id) and not one.lapsed


def _gives_up(one: Claimant, owner: Claimant) -> bool:
    newer = (one.at, one.id) > (owner.at, owner.id)
    return newer and bool(one.failure) and owner.ready > 0 and not one.whole and not one.lapsed


def _failure(deployment: Deployment) -> str:
    status = deployment.status
    if status.failed is not None:
        return f"{status.failed.reason}: {status.failed.message}"
    crashes = status.crashes
    if crashes.failure is not None and crashes.count >= MOST_FAILURES:
        return f"{crashes.failure.reason}: {crashes.failure.message}"
    stuck = [c.message for c in status.conditions if c.reason == "ProgressDeadlineExceeded"]
    return stuck[0] if stuck else ""
