"""One seed: users, faults, deaths of control planes; then peace, in which all must come right."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

from modelyard.backends.memory import Pace
from modelyard.control import applying, operations, rollouts
from modelyard.control import loop as loops
from modelyard.control.controller import Controller, prepare
from modelyard.control.platform import Hints
from modelyard.domain import rollout
from modelyard.domain.deployment import Deployment, DeploymentSpec, Failure, Key, Phase
from modelyard.domain.errors import ModelyardError
from modelyard.domain.placement import Placement
from modelyard.domain.strategy import Kind, Strategy
from modelyard.store import deployments, revisions
from tests.control import world as worlds
from tests.simulation.faults import FaultyBackend, Violation, Wishes
from tests.support.inline import InlineDatabase
from tests.support.virtual import clock

CHAOS_SECONDS = 4.0
PEACE_SECONDS = 400.0
KEYS = (Key("default", "a"), Key("default", "b"))
STRATEGIES = (
    Strategy(),
    Strategy(),
    Strategy(kind=Kind.CANARY, steps=(5, 50, 100), interval_seconds=0.3, min_requests=0, keep_seconds=0.3),
    Strategy(kind=Kind.CANARY, interval_seconds=0.2, min_requests=0, keep_seconds=0.0, gates=("manual=25",)),
    Strategy(kind=Kind.BLUE_GREEN, keep_seconds=0.5),
    Strategy(gates=("errors=1%",), interval_seconds=0.5, min_requests=0),
)
LOOP_PACE = loops.Pace(lease_seconds=2.0)


class Story:
    """Everything that one seed decides."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.database = InlineDatabase(self._statement)
        pace = Pace(start_seconds=self.dice.uniform(0.05, 0.6), stop_seconds=self.dice.uniform(0.05, 0.5))
        self.world = worlds.build(self.database, pace=pace)
        self.gateway = self.world.gateway
        self.gateway.lag = lambda: self.dice.choice((0.0, 0.0, 0.02, 0.3)) * self.faulty
        self.gateway.delay = lambda: self.dice.choice((0.0, 0.05, 0.3)) * self.faulty
        self.backend = FaultyBackend(self.world.backend, self.gateway, self.dice)
        self.keys = KEYS[: self.dice.choice((1, 1, 2))]
        self.controllers: dict[int, asyncio.Task[None]] = {}
        self.faulty = True
        self.ordinals = 0

    async def tell(self) -> None:
        """Chaos, then peace; raises Violation."""
        await prepare(self.world.platform)
        await worlds.publish(self.database, "m", 3)
        for slot in range(self.dice.choice((1, 1, 2))):
            self._begin(slot)
        for key in self.keys:
            await self._deploy(key)
        end = clock() + CHAOS_SECONDS
        while clock() < end:
            await asyncio.sleep(self.dice.expovariate(1.6))
            await self.dice.choice(self._happenings())()
            self._raise()
        await self._peace()

    def _happenings(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        users = (
            self._user_deploys,
            self._user_deploys,
            self._user_scales,
            self._user_scales,
            self._user_acts,
        )
        return (
            *users,
            self._user_deletes,
            self._replica_suffers,
            self._replica_suffers,
            self._death,
            self._death,
        )

    async def _user_deploys(self) -> None:
        await self._deploy(self.dice.choice(self.keys))

    async def _deploy(self, key: Key) -> None:
        spec = DeploymentSpec(
            model=f"m@{self.dice.randint(1, 3)}",
            replicas=self.dice.choice((0, 1, 1, 2, 3)),
            max_surge=self.dice.choice((1, 1, 2)),
            drain_seconds=self.dice.choice((0.0, 0.2, 5.0)),
            env={"LEVEL": str(self.dice.randint(1, 2))},
            strategy=self.dice.choice(STRATEGIES),
        )
        self._want(key, spec.replicas, _surge(spec, spec.replicas))
        await self._tolerant(applying.apply(self.world.platform, worlds.ADMIN, key, spec))

    async def _user_scales(self) -> None:
        key, replicas = self.dice.choice(self.keys), self.dice.randint(0, 4)
        before = await self._stored(key)
        if before is not None:
            self._want(key, replicas, _surge(before.spec, replicas))
            await self._tolerant(operations.scale(self.world.platform, worlds.ADMIN, key, replicas))

    async def _user_acts(self) -> None:
        act = self.dice.choice(
            (operations.restart, operations.roll_back, rollouts.pause, rollouts.resume, rollouts.abort)
        )
        await self._tolerant(act(self.world.platform, worlds.ADMIN, self.dice.choice(self.keys)))

    async def _user_deletes(self) -> None:
        key = self.dice.choice(self.keys)
        before = await self._stored(key)
        self._want(key, 0, before.spec.max_surge if before else 1)
        await self._tolerant(operations.delete(self.world.platform, worlds.ADMIN, key))

    async def _replica_suffers(self) -> None:
        """A replica crashes, vanishes, or turns unready for a while."""
        key = self.dice.choice(self.keys)
        replicas = await self.world.backend.observe(key)
        if not replicas:
            return
        name, how = self.dice.choice(replicas).name, self.dice.randrange(3)
        if how == 0:
            self.world.backend.crash(key, name)
        elif how == 1:
            await self.world.backend.kill(key, name)
        else:
            failure = Failure(reason="WorkerCrashed", message="killed by the story")
            self.world.backend.set_unready(key, name, failure)
            again = self.dice.uniform(0.1, 2.0)
            asyncio.get_running_loop().call_later(again, self.world.backend.set_unready, key, name, None)

    async def _death(self) -> None:
        """The gateway or a control plane dies, the latter between any two of its steps."""
        if self.dice.random() < 0.25:
            self.gateway.kill()
            return
        slot = self.dice.choice(list(self.controllers))
        for _ in range(self.dice.randrange(60)):
            await asyncio.sleep(0)
        self.controllers[slot].cancel()
        await asyncio.gather(self.controllers[slot], return_exceptions=True)
        await asyncio.sleep(self.dice.choice((0.0, 0.1, 1.0)))
        self._begin(slot)

    async def _peace(self) -> None:
        """No more faults: every deployment becomes what its user wants, and nothing else is left."""
        self.faulty = self.backend.faulty = False
        end = clock() + PEACE_SECONDS
        wrong = "not looked yet"
        while wrong:
            self._raise()
            await self._approve()
            if clock() > end:
                raise Violation(f"not settled after {PEACE_SECONDS} s of peace: {wrong}")
            await asyncio.sleep(0.25)
            wrong = await self._unsettled()
        for task in self.controllers.values():
            task.cancel()
        await asyncio.gather(*self.controllers.values(), return_exceptions=True)
        await self.database.close()

    async def _approve(self) -> None:
        """No rollout waits for its user for ever."""
        for key in self.keys:
            await self._tolerant(rollouts.resume(self.world.platform, worlds.ADMIN, key))

    async def _unsettled(self) -> str:
        """What is not yet as it should be; empty when all is."""
        async with self.database.read() as tx:
            stored = {d.key: d for d in await deployments.all(tx)}
            left = [key for key in self.keys if key not in stored and (await revisions.list(tx, key)).items]
        running = await self.world.backend.keys()
        if running - stored.keys() or left:
            return f"orphans {running - stored.keys()}, {left}"
        routed = set()
        for deployment in stored.values():
            if wrong := await self._wrong(deployment):
                return f"{deployment.key}: {wrong}"
            routed |= {r.name for r in await self.world.backend.observe(deployment.key)}
        if await self.gateway.routed() != routed:
            return f"routes to {await self.gateway.routed()}, ready are {routed}"
        return ""

    async def _wrong(self, deployment: Deployment) -> str:
        if deployment.deleting:
            return "still being deleted"
        replicas = await self.world.backend.observe(deployment.key)
        target, want = deployment.wanted_revision, deployment.spec.replicas
        good = [r for r in replicas if r.phase is Phase.READY and r.revision == target]
        if len(good) != want or len(replicas) != want:
            return f"wants {want} of revision {target}, has {[(r.name, r.phase) for r in replicas]}"
        ready = next((c for c in deployment.status.conditions if c.type == "Ready"), None)
        if deployment.status.observed_generation != deployment.generation or ready is None:
            return "status is old"
        if want and not ready.ok:
            return "status does not say ready"
        names = frozenset(r.name for r in replicas)
        places = {target: (Placement(node="memory"),) * 9}
        plan = rollout.plan(deployment, replicas, routed=names, now=clock(), launches=places)
        return f"more is planned: {plan}" if plan else ""

    def _begin(self, slot: int) -> None:
        """A control plane starts, as a new process would: it remembers nothing."""
        self.ordinals += 1
        platform = replace(
            self.world.platform, backend=self.backend, hints=Hints(), identity=f"control-{self.ordinals}"
        )
        controller = Controller(platform, pace=LOOP_PACE, alive=lambda pid: True)
        self.controllers[slot] = asyncio.create_task(self._run(platform, controller))

    async def _run(self, platform: worlds.Platform, controller: Controller) -> None:
        await prepare(platform)
        await controller.run()

    async def _stored(self, key: Key) -> Deployment | None:
        async with self.database.read() as tx:
            return await deployments.get(tx, key)

    def _want(self, key: Key, replicas: int, surge: int) -> None:
        self.backend.wishes.setdefault(key, Wishes()).want(replicas, surge)

    async def _tolerant(self, verb: Awaitable[object]) -> None:
        """Users may ask for what is not there or being deleted."""
        try:
            await verb
        except ModelyardError:
            return

    async def _statement(self) -> None:
        """Between any two statements others may run."""
        if self.faulty and self.dice.random() < 0.02:
            await asyncio.sleep(self.dice.uniform(0.0, 0.05))
        else:
            await asyncio.sleep(0)

    def _raise(self) -> None:
        if self.backend.violations:
            raise Violation("; ".join(self.backend.violations))
        for task in self.controllers.values():
            if task.done() and not task.cancelled() and task.exception():
                raise Violation(f"a control plane ended: {task.exception()!r}")


def _surge(spec: DeploymentSpec, replicas: int) -> int:
    """How many replicas may be there beside those wanted: a judged revision's beside the whole base."""
    return spec.max_surge if spec.strategy.is_plain else max(spec.max_surge, replicas)
