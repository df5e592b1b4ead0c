"""Bring one deployment towards its spec: load, observe, plan, act, record."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modelyard.control import authorise, kinds, quotas
from modelyard.control.deployments import KIND, address_failure, gateway_failure, route_failure
from modelyard.control.footprints import Footprints
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.control.reconcilers import launching, outages, rollouts, routing, transitions
from modelyard.domain import conditions, rollout, scaling
from modelyard.domain.comparison import Report
from modelyard.domain.deployment import Deployment, DeploymentStatus, Failure, Replica, Revision
from modelyard.domain.placement import Placement, Unfit
from modelyard.domain.rollout import Action, Drain, Kill, Start, Stop
from modelyard.domain.runtime import RuntimeStatus
from modelyard.store import Transaction, comparisons, deployments, measures, readings, revisions, work


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Everything that a step depends on."""

    before: Deployment
    """As it was stored."""
    deployment: Deployment
    """With its rollout as far as it is now."""
    report: Report | None
    """What comparing two revisions has shown, when it is news."""
    revisions: Mapping[int, Revision]
    """The wanted one and the good one."""
    runtimes: Mapping[int, RuntimeStatus | None]
    """Of those revisions."""
    observed: tuple[Replica, ...]
    routed: frozenset[str]
    """What the running gateway may send requests to."""
    pending: frozenset[str]
    """Those of them of which it is not certain that it does."""
    reserved: frozenset[str]
    """What it may come to send requests to."""
    gateway: Failure | None
    address: Failure | None
    now: float

    @property
    def relied(self) -> frozenset[str]:
        """What the gateway sends requests to; of what serves, only where that is certain."""
        ready = frozenset(r.name for r in self.observed if transitions.is_ready(r))
        return self.routed - (self.pending & ready)

    def plan(self, launches: Mapping[int, Sequence[Placement]]) -> tuple[Action, ...]:
        """The steps for these places.

        A ready replica counts as routed only when the gateway really has it, so that nothing is taken away
        too soon; any other counts as routed as long as the gateway could still have it.
        """
        ready = frozenset(r.name for r in self.observed if transitions.is_ready(r))
        routed = self.relied | (self.reserved - ready)
        return rollout.plan(self.deployment, self.observed, routed=routed, now=self.now, launches=launches)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What a step did."""

    actions: tuple[Action, ...]
    unstarted: tuple[Replica, ...] = ()
    """Replicas that could not even be started, as failed ones."""
    unfit: Unfit | None = None


class Deployments:
    """The reconciler; it starts one replica at a time, so that each start sees what the others hold."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._starting = asyncio.Lock()
        self._footprints = Footprints(platform)

    async def reconcile(self, text: str) -> Again | None:
        """One step; None when the deployment is gone."""
        platform, key = self._platform, kinds.deployment_key(text)
        async with platform.database.read() as tx:
            deployment = await deployments.get(tx, key)
            if deployment is None:
                return None
            known = await launching.relevant(tx, deployment)
            reserved = await routing.intended(tx)
            gateway = await gateway_failure(tx) or await route_failure(tx, key)
            address = await address_failure(tx, key)
            decided = await quotas.decided(tx, deployment)
        outage = platform.backend.outage()
        if outage is not None:
            return await outages.wait(platform, deployment, outage)
        observed = await platform.backend.observe(key)
        if deployment.deleting and not observed:
            await _finalise(platform, deployment)
            return None
        await self._footprints.note(known, observed)
        kept = decided == deployment.status.scaling
        if gateway is None and address is None and kept and transitions.at_rest(deployment, observed):
            return transitions.rest(deployment, platform.rest_seconds)
        now, before = platform.clock(), deployment
        deployment = replace(deployment, status=replace(deployment.status, scaling=decided))
        status, report = await rollouts.advanced(platform, deployment, observed, now=now)
        scene = _Scene(
            before=before,
            deployment=replace(deployment, status=status),
            report=report,
            revisions=known,
            runtimes={n: await launching.runtime(platform, each) for n, each in known.items()},
            observed=observed,
            routed=await platform.gateway.routed(),
            pending=platform.gateway.pending(),
            reserved=reserved | routing.recorded(deployment),
            gateway=gateway,
            address=address,
            now=now,
        )
        return await _record(platform, scene, await self._step(scene))

    async def _step(self, scene: _Scene) -> _Done:
        """Plan and act; who wants to start something looks for a place first, and alone."""
        actions = scene.plan(launching.anywhere(scene.deployment, scene.runtimes))
        if not any(isinstance(action, Start) for action in actions):
            return _Done(actions=actions, unstarted=await self._act(scene, actions))
        async with self._starting:
            places, unfit = await launching.places(
                self._platform, scene.deployment, scene.revisions, scene.runtimes
            )
            actions = scene.plan(places)
            return _Done(actions=actions, unstarted=await self._act(scene, actions), unfit=unfit)

    async def _act(self, scene: _Scene, actions: tuple[Action, ...]) -> tuple[Replica, ...]:
        backend, key = self._platform.backend, scene.deployment.key
        unstarted = []
        for action in actions:
            match action:
                case Start(replica, number, placement):
                    failure = await launching.start(
                        self._platform, scene.revisions[number], scene.runtimes[number], replica, placement
                    )
                    if failure is not None:
                        unstarted.append(transitions.unstarted(replica, number, failure, now=scene.now))
                case Drain(replica):
                    await backend.drain(key, replica)
                case Stop(replica):
                    await backend.stop(key, replica)
                case Kill(replica):
                    await backend.kill(key, replica)
        return tuple(unstarted)


async def _record(platform: Platform, scene: _Scene, done: _Done) -> Again:
    """Store the status if it changed, with what is worth an event; say when to look again."""
    before = scene.before
    kills = tuple(Kill(r.name, r.failure) for r in done.unstarted)
    facts = conditions.Facts(
        actions=(*done.actions, *kills),
        routed=scene.relied,
        runtime=scene.runtimes.get(scene.deployment.wanted_revision),
        unfit=done.unfit,
        gateway=scene.gateway,
        address=scene.address,
    )
    status = conditions.next_status(
        scene.deployment, (*scene.observed, *done.unstarted), facts, now=scene.now
    )
    after = replace(before, status=status)
    if transitions.differ(before.status, status):
        async with platform.database.begin() as tx:
            current = await deployments.get(tx, before.key)
            if current is None:
                return Again(0.0)
            await _keep(platform, tx, scene, current, status)
            for reason, message in transitions.events(before, after, facts.actions):
                await authorise.note(
                    platform, tx, None, project=before.project, kind=KIND, name=before.key.service,
                    reason=reason, message=message,
                )  # fmt: skip
            routes = transitions.routes_differ(before, after)
            if routes:
                await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
        if routes:
            platform.hint(kinds.GATEWAY, kinds.ALL)
    if done.unfit is not None and not done.unfit.impossible:
        platform.hint(kinds.CAPACITY, kinds.ALL)
    return transitions.pause(after, scene.observed, facts, now=scene.now, rest_seconds=platform.rest_seconds)


async def _keep(
    platform: Platform, tx: Transaction, scene: _Scene, current: Deployment, status: DeploymentStatus
) -> None:
    """Store what this step found; others write beside it, perhaps while it was under way.

    Warnings come from who deploys, the number of replicas from load, clock and shortage; what the quota
    leaves is found here.
    """
    known, found = current.status.scaling, status.scaling
    scale = replace(known, allowed=found.allowed, quota=found.quota)
    status = replace(status, warnings=current.status.warnings, scaling=scale)
    await deployments.record(tx, current.key, status)
    if scene.report is not None:
        await comparisons.set(tx, current.key, scene.report)
    edited = scene.before.status.observed_generation != status.observed_generation
    if edited and _scales(replace(scene.before, status=status)):
        await work.put(tx, kinds.SCALING, str(current.key), due_at=platform.clock())


def _scales(deployment: Deployment) -> bool:
    """Whether load or clock decide about it, or did until now."""
    return scaling.honoured(deployment) or deployment.status.scaling.desired >= 0


async def _finalise(platform: Platform, deployment: Deployment) -> None:
    """Nothing is left of it in the world: forget it."""
    async with platform.database.begin() as tx:
        current = await deployments.get(tx, deployment.key)
        if current is None or not current.deleting:
            return
        await revisions.delete_all(tx, deployment.key)
        await comparisons.forget(tx, deployment.key)
        await deployments.delete(tx, deployment.key)
        await measures.forget(tx, str(deployment.key))
        await readings.forget(tx, str(deployment.key))
        await authorise.note(
            platform, tx, None, project=deployment.project, kind=KIND, name=deployment.key.service,
            reason="Deleted",
        )  # fmt: skip
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)
