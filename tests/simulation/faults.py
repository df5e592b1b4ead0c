"""A backend that delays, loses and doubles what it is asked, and checks that nothing wrong is ever asked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from modelyard.backends.base import Answer, Called, Launch, LogLine, Outage, Rule, Task, Unable
from modelyard.backends.memory import MemoryBackend
from modelyard.domain.deployment import Key, Phase, Replica
from modelyard.domain.endpoint import Route
from modelyard.domain.errors import BackendError
from modelyard.domain.gpu import GpuRequest
from modelyard.domain.model_files import ModelFiles
from modelyard.domain.mounts import Mount
from modelyard.domain.network import Network
from modelyard.domain.node import Node, NodeClass
from modelyard.domain.quota import Quota
from tests.support.gateway import MemoryGateway
from tests.support.virtual import clock

RECENT_SECONDS = 10.0
"""What a step was planned for may have been edited so long ago."""


class Violation(AssertionError):
    """Something happened that must never happen."""


@dataclass(slots=True)
class Wishes:
    """What users wanted of one deployment: replicas and surge, since when."""

    said: list[tuple[float, int, int]] = field(default_factory=list)

    def want(self, replicas: int, surge: int) -> None:
        """From now on this is wanted."""
        self.said.append((clock(), replicas, surge))

    def recent(self) -> list[tuple[int, int]]:
        """Replicas and surge of every wish that a step under way may have been planned for."""
        since = clock() - RECENT_SECONDS
        newer = [(replicas, surge) for at, replicas, surge in self.said if at >= since]
        older = [(replicas, surge) for at, replicas, surge in self.said if at < since]
        return [*older[-1:], *newer]


@dataclass(slots=True)
class _Seen:
    """What a reconcile saw when it planned."""

    ready: set[str]
    routed: frozenset[str]


class FaultyBackend:
    """Faults by seed around a memory backend; every action is checked against the truth."""

    def __init__(self, world: MemoryBackend, gateway: MemoryGateway, dice: random.Random) -> None:
        self.world, self.gateway, self.dice = world, gateway, dice
        self.faulty = True
        self.wishes: dict[Key, Wishes] = {}
        self.violations: list[str] = []
        self._stopped: set[str] = set()
        self._seen: dict[Key, _Seen] = {}
        self._late: set[asyncio.Task[None]] = set()
        gateway.on_apply = self.check_routes

    def outage(self) -> Outage | None:
        return self.world.outage()

    async def classify(self, node: str, classes: frozenset[NodeClass]) -> None:
        await self.world.classify(node, classes)

    async def scaled(self, key: Key, rule: Rule | None) -> Called | Unable:
        """As the backend says."""
        return await self.world.scaled(key, rule)

    def refuses_gpus(self, wanted: GpuRequest) -> str:
        """As the backend says."""
        return self.world.refuses_gpus(wanted)

    async def settle(self, project: str, quota: Quota, network: Network) -> None:
        await self.world.settle(project, quota, network)

    def refuses_model_files(self, wanted: ModelFiles) -> str:
        """As the backend says."""
        return self.world.refuses_model_files(wanted)

    def refuses_mount(self, wanted: Mount) -> str:
        """As the backend says."""
        return self.world.refuses_mount(wanted)

    def refuses_images(self) -> str:
        """As the backend says."""
        return self.world.refuses_images()

    def admits_tasks(self) -> str:
        return ""

    def enforcement(self) -> dict[str, str]:
        return self.world.enforcement()

    async def nodes(self) -> tuple[Node, ...]:
        return await self.world.nodes()

    async def observe(self, key: Key) -> tuple[Replica, ...]:
        """What was true a moment ago."""
        seen = await self.world.observe(key)
        await self._fault()
        task = asyncio.current_task()
        if task is not None and task.get_name().startswith("deployment"):
            # What this reconcile is about to plan with; patrols look too, but plan nothing.
            ready = {r.name for r in seen if r.phase is Phase.READY}
            self._seen[key] = _Seen(ready, await self.gateway.routed())
        return seen

    async def keys(self) -> frozenset[Key]:
        return await self.world.keys()

    async def start(self, launch: Launch) -> None:
        if self.faulty and self.dice.random() < 0.05:
            # Whoever asked may be dead by the time that it happens.
            self._late.add(asyncio.create_task(self._start_late(launch)))
            raise BackendError("the answer was lost")
        await self._fault()
        await self._start(launch)
        if self.faulty and self.dice.random() < 0.1:
            await self._start(launch)
        await self._fault()

    async def drain(self, key: Key, replica: str) -> None:
        await self._fault()
        found = await self._find(key, replica)
        if found is not None and found.phase is Phase.READY:
            seen = self._seen.get(key) or _Seen(set(), frozenset())
            others = seen.ready - {replica}
            serving = others & seen.routed if replica in seen.routed else others
            needed = min(replicas for replicas, _ in self.wishes[key].recent())
            if len(serving) < needed:
                self._violated(f"drained {replica} of {key}: only {serving} serve, {needed} are needed")
        await self.world.drain(key, replica)
        if key in self._seen:
            self._seen[key].ready.discard(replica)
        await self._fault()

    async def stop(self, key: Key, replica: str) -> None:
        await self._fault()
        found = await self._find(key, replica)
        alive = found is not None and found.phase not in (Phase.FAILED, Phase.STOPPING)
        if alive and replica in await self.gateway.routed():
            self._violated(f"stopped {replica} of {key} while requests could reach it")
        self._stopped.add(replica)
        await self.world.stop(key, replica)
        await self._fault()

    async def kill(self, key: Key, replica: str) -> None:
        await self._fault()
        found = await self._find(key, replica)
        if found is not None and found.phase in (Phase.READY, Phase.DRAINING):
            self._violated(f"killed {replica} of {key}, which was {found.phase}")
        await self.world.kill(key, replica)
        await self._fault()

    async def run(self, task: Task) -> Answer:
        return await self.world.run(task)

    def logs(
        self, key: Key, *, replica: str = "", tail: int = 100, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        return self.world.logs(key, replica=replica, tail=tail, follow=follow)

    async def close(self) -> None:
        return None

    def check_routes(self, routes: tuple[Route, ...]) -> None:
        """Nothing that was told to stop may get requests."""
        for route in routes:
            weights = [share.weight for share in route.shares]
            if sum(weights) != (100 if any(share.targets for share in route.shares) else 0):
                self._violated(f"{route.name} divides its requests by {weights}")
            if any(share.weight and not share.targets for share in route.shares):
                self._violated(f"{route.name} gives requests to nobody")
            for target in route.targets:
                if target.replica in self._stopped:
                    self._violated(f"{route.name} routes to {target.replica}, which was told to stop")

    async def _start_late(self, launch: Launch) -> None:
        await asyncio.sleep(self.dice.uniform(0.0, 0.3))
        await self._start(launch)

    async def _start(self, launch: Launch) -> None:
        before = await self._find(launch.key, launch.replica)
        await self.world.start(launch)
        if before is None:
            self._stopped.discard(launch.replica)
        live = [r for r in await self.world.observe(launch.key) if r.phase is not Phase.FAILED]
        most = max(replicas + surge for replicas, surge in self.wishes[launch.key].recent())
        if len(live) > most:
            names = ", ".join(f"{r.name} {r.phase}" for r in live)
            self._violated(f"started {launch.replica}: {len(live)} live, at most {most}: {names}")

    async def _find(self, key: Key, replica: str) -> Replica | None:
        return next((r for r in await self.world.observe(key) if r.name == replica), None)

    async def _fault(self) -> None:
        if not self.faulty:
            return
        roll = self.dice.random()
        if roll < 0.15:
            await asyncio.sleep(self.dice.uniform(0.0, 0.3))
        elif roll < 0.2:
            raise BackendError("the answer was lost")
        elif roll < 0.5:
            await asyncio.sleep(0)

    def _violated(self, what: str) -> None:
        self.violations.append(f"at {clock():.3f}: {what}")
