"""Look at a service's load and at the clock, and write down how many replicas it should have."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelyard.backends.base import Called, Rule, Unable
from modelyard.control import authorise, hours, kinds
from modelyard.control.deployments import KIND
from modelyard.control.load import Gauges
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.domain import scaling
from modelyard.domain.autoscaling import Scaler, ScalingStatus, targets
from modelyard.domain.deciding import Decision, Memory, Question, decide
from modelyard.domain.deployment import Deployment
from modelyard.domain.following import Load
from modelyard.store import deployments, work

LOOK = Again(2.0)
"""How often load is looked at."""
CLOCK = Again(20.0)
"""How often the clock is, where load decides nothing or there is none."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of a deployment; forgetting it only makes the next decision a patient one."""

    generation: int
    memory: Memory


class Autoscaler:
    """The reconciler; it hears from the gateway which sleeping services are asked for."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._gauges = Gauges(platform)
        self._known: dict[str, _Known] = {}
        self._asked: set[str] = set()

    async def listen(self) -> None:
        """Wake whatever is asked for; until cancelled."""
        while True:
            asked = await self._platform.gateway.asked()
            self._asked |= asked
            for key in sorted(asked):
                self._platform.hint(kinds.SCALING, key)

    async def reconcile(self, text: str) -> Again | None:
        """Decide anew; None when neither load nor clock has anything to say about it."""
        platform = self._platform
        async with platform.database.read() as tx:
            deployment = await deployments.get(tx, kinds.deployment_key(text))
        if deployment is None or not scaling.honoured(deployment):
            self._forget(text)
            await platform.backend.scaled(kinds.deployment_key(text), None)
            if deployment is not None and deployment.status.scaling.desired >= 0:
                await self._write(deployment, ScalingStatus())
            return None
        decision = await self._decide(deployment)
        before = deployment.status.scaling
        if (before.desired, before.reason) != (decision.desired, decision.reason):
            after = replace(
                before, desired=decision.desired, reason=decision.reason, message=decision.message
            )
            await self._write(deployment, after)
        # One that sleeps is woken by word from the gateway.
        return LOOK if deployment.spec.autoscaling.by_load and decision.desired else CLOCK

    async def _decide(self, deployment: Deployment) -> Decision:
        key, spec, now = str(deployment.key), deployment.spec.autoscaling, self._platform.clock()
        known = self._known.get(key) or _Known(deployment.generation, Memory(now))
        load = await self._gauges.look(deployment, targets(spec.on), now=now) if spec.by_load else Load()
        question = Question(
            scaling=spec,
            replicas=deployment.spec.replicas,
            current=scaling.asked(deployment),
            hour=hours.hour(spec, default=self._platform.time_zone, now=now),
            edited=known.generation != deployment.generation or key in self._asked,
        )
        self._asked.discard(key)
        decision, memory = decide(question, known.memory, load, now=now)
        self._known[key] = _Known(deployment.generation, memory)
        return await self._followed(deployment, decision)

    async def _followed(self, deployment: Deployment, own: Decision) -> Decision:
        """What somebody else makes of the load, where somebody else may and can; else our own decision."""
        backend, key, spec = self._platform.backend, deployment.key, deployment.spec.autoscaling
        if own.reason != "Load" or not scaling.delegable(deployment):
            await backend.scaled(key, None)
            return own
        least, most = scaling.bounds(deployment)
        rule = Rule(key=key, revision=deployment.wanted_revision, least=least, most=most, scaling=spec)
        match await backend.scaled(key, rule):
            case Unable(message) if spec.by is Scaler.CLUSTER:
                return replace(own, message=f"{own.message}; the platform decides: {message}")
            case Unable():
                return own
            case Called() as called:
                count = spec.max if called.limited and most < spec.max else called.replicas
                return Decision(count, scaling.UNMEASURED if called.unsure else "Cluster", called.message)

    async def _write(self, before: Deployment, decided: ScalingStatus) -> None:
        """Record it, with an event when the number changes, and have it carried out at once."""
        platform, key = self._platform, before.key
        async with platform.database.begin() as tx:
            current = await deployments.get(tx, key)
            if current is None or current.generation != before.generation:
                return
            known = current.status.scaling
            decided = replace(decided, granted=known.granted, allowed=known.allowed, quota=known.quota)
            after = replace(current, status=replace(current.status, scaling=decided))
            await deployments.record(tx, key, after.status)
            old, new = scaling.asked(current), scaling.asked(after)
            if old != new:
                await authorise.note(
                    platform, tx, None, project=key.project, kind=KIND, name=key.service,
                    reason="Autoscaled", message=f"scaled {old} → {new}: {decided.message or 'by hand'}",
                )  # fmt: skip
            await work.put(tx, kinds.DEPLOYMENT, str(key), due_at=platform.clock())
            wakes = scaling.wakes(current) != scaling.wakes(after)
            if wakes:
                await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
        platform.hint(kinds.DEPLOYMENT, str(key))
        if wakes:
            platform.hint(kinds.GATEWAY, kinds.ALL)

    def _forget(self, key: str) -> None:
        self._known.pop(key, None)
        self._asked.discard(key)
        self._gauges.forget(key)
