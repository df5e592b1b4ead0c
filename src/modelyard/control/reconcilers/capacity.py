"""Divide capacity while there is not enough for all: who may have how many replicas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from modelyard.control import authorise, kinds, requests
from modelyard.control.deployments import KIND
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.domain import allotment, progress, rollout_shares, scaling
from modelyard.domain.allotment import Demand
from modelyard.domain.deployment import Deployment, Key, Phase
from modelyard.domain.placement import Request
from modelyard.store import Transaction, deployments, work

_LOOK = Again(2.0)
_STAYING = (Phase.STARTING, Phase.READY, Phase.UNREADY)


async def reconcile(platform: Platform, _: str) -> Again | None:
    """Write down who has to do with fewer; look again while anybody has to."""
    if platform.backend.outage() is not None:
        return _LOOK  # nodes that cannot be seen are not nodes that went
    nodes = await platform.backend.nodes()
    async with platform.database.read() as tx:
        known = await deployments.all(tx)
        asked = await requests.of(tx, known)
    demands = tuple(_demands(known, asked))
    limits = allotment.limits(demands, allotment.allot(demands, nodes))
    changed = [d for d in known if d.status.scaling.granted != limits.get(str(d.key), -1)]
    if changed:
        async with platform.database.begin() as tx:
            for deployment in changed:
                await _limit(platform, tx, deployment, limits)
    for deployment in changed:
        platform.hint(kinds.DEPLOYMENT, str(deployment.key))
    return _LOOK if limits else None


def _demands(known: Sequence[Deployment], requested: Mapping[Key, Request]) -> Iterator[Demand]:
    """What each wants; one that could not start if there were room wants what it has."""
    for deployment in known:
        asked = scaling.permitted(deployment)
        running = [r for r in deployment.status.replicas if r.phase in _STAYING]
        stale = any(r.revision != deployment.wanted_revision for r in running)
        ready = any(c.type == "RuntimeReady" and c.ok for c in deployment.status.conditions)
        able = ready and not deployment.status.crashes.count
        yield Demand(
            key=str(deployment.key),
            id=deployment.id,
            rank=deployment.spec.priority.level.rank,
            wanted=asked + _beside(deployment, stale=stale) if able else min(asked, len(running)),
            guaranteed=scaling.guaranteed(deployment),
            running=len(running),
            request=requested[deployment.key],
        )


def _beside(deployment: Deployment, *, stale: bool) -> int:
    """How many stand beside the old ones: a new revision's first, or as many as its rollout needs ready."""
    judged = progress.active(deployment)
    divided = judged is not None and judged.weights
    return rollout_shares.needed(deployment, judged) if judged is not None and divided else int(stale)


async def _limit(
    platform: Platform, tx: Transaction, deployment: Deployment, limits: Mapping[str, int]
) -> None:
    key = deployment.key
    current = await deployments.get(tx, key)
    if current is None:
        return
    granted = limits.get(str(key), -1)
    after = replace(
        current, status=replace(current.status, scaling=replace(current.status.scaling, granted=granted))
    )
    await deployments.record(tx, key, after.status)
    old, new = scaling.wanted(current), scaling.wanted(after)
    if old != new:
        why = "others go before" if new < old else "there is room again"
        await authorise.note(
            platform, tx, None, project=key.project, kind=KIND, name=key.service,
            reason="CapacityShort" if new < old else "CapacityBack", message=f"{old} → {new} replicas: {why}",
        )  # fmt: skip
    await work.put(tx, kinds.DEPLOYMENT, str(key), due_at=platform.clock())
