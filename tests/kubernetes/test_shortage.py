"""When a cluster has not room for all: who gives way, and that nobody goes below what is guaranteed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from modelyard.backends.kubernetes import names
from modelyard.control import applying, operations
from modelyard.control import deployments as shown
from modelyard.domain.autoscaling import Autoscaling
from modelyard.domain.deployment import DeploymentSpec, Key, Resources
from modelyard.domain.priority import Level, Priority
from modelyard.domain.tallies import Reading, Tally
from modelyard.store import events
from tests.control.world import ADMIN
from tests.kubernetes.stage import Stage, _is_ready, _replica, staged
from tests.support import inline
from tests.support.virtual import on_virtual_time

LOW, HIGH = Key("default", "low"), Key("default", "high")
BY_LOAD = Autoscaling(min=1, max=4, on="concurrency:8", down_seconds=60)
CORE = Resources(cpu="1")
"""The node has four."""


@pytest.fixture(autouse=True)
def _prepared() -> None:
    """The database's tables are made on a loop of their own."""
    inline.prepare()


@dataclass(slots=True)
class Scene:
    """A cluster with a service of little importance that much is asked of."""

    stage: Stage
    fewest: int = 4

    async def deploy(self, key: Key, **fields: object) -> None:
        spec = DeploymentSpec(**{"model": "churn@1", "drain_seconds": 1.0, "resources": CORE, **fields})  # type: ignore[arg-type]
        await applying.apply(self.stage.world.platform, ADMIN, key, spec)

    def ready(self, key: Key) -> list[str]:
        """Replicas whose pods answer."""
        pods = [p for p in self.stage.objects("Pod") if p["metadata"]["labels"][names.SERVICE] == key.service]
        return sorted(_replica(pod) for pod in pods if _is_ready(pod) and _replica(pod))

    async def until_ready(self, low: int, high: int, *, seconds: float = 60.0) -> None:
        async def divided() -> bool:
            return (len(self.ready(LOW)), len(self.ready(HIGH))) == (low, high)

        await self.stage.until(divided, seconds=seconds)

    async def ask(self) -> None:
        """As much is asked of it as four replicas are worth; counts the fewest that there ever are."""
        gateway, requests = self.stage.world.gateway, 0
        while True:
            requests += 1
            running = self.ready(LOW)
            tally = Tally(route=str(LOW), share=str(LOW), codes={200: requests})
            shared = {name: 32 // len(running) for name in running}
            gateway.counted = Reading(epoch="1", tallies=(tally,), inflight=shared)
            self.fewest = min(self.fewest, len(running))
            await asyncio.sleep(0.1)

    async def said(self) -> set[str]:
        async with self.stage.world.database.read() as tx:
            return {event.reason for event in await events.list(tx, kind="deployment")}


@asynccontextmanager
async def scene(guaranteed: int) -> AsyncIterator[Scene]:
    """The service has grown over the whole cluster; so many of its replicas are guaranteed."""
    async with staged() as stage:
        # The cluster's scheduler makes room by itself, too.
        stage.disturbed = True
        made = Scene(stage)
        rule = replace(BY_LOAD, min=guaranteed)
        await made.deploy(
            LOW,
            autoscaling=rule,
            priority=Priority(level=Level.LOW, guaranteed=guaranteed),
            replicas=guaranteed,
        )
        asking = asyncio.create_task(made.ask())
        await made.until_ready(4, 0)
        made.fewest = 4
        try:
            yield made
        finally:
            asking.cancel()


@on_virtual_time
@pytest.mark.parametrize(("guaranteed", "granted"), [(1, 3), (2, 2)])
async def test_a_higher_priority_gets_what_is_not_guaranteed_and_gives_it_back(
    guaranteed: int, granted: int
) -> None:
    async with scene(guaranteed) as there:
        await there.deploy(HIGH, replicas=3, priority=Priority(level=Level.HIGH))
        await there.until_ready(guaranteed, granted)
        await asyncio.sleep(20)
        await there.until_ready(guaranteed, granted, seconds=0)
        explained = await shown.explain(there.stage.world.platform, ADMIN, LOW)
        assert f"{guaranteed} of 4 replicas" in explained.summary
        await operations.scale(there.stage.world.platform, ADMIN, HIGH, 1)
        await there.until_ready(3, 1)
        assert there.fewest >= guaranteed, "what is guaranteed was never taken, not for a moment"
        assert {"CapacityShort", "CapacityBack"} <= await there.said()


@on_virtual_time
async def test_equals_wait_for_room_and_take_nothing() -> None:
    async with scene(1) as there:
        await there.deploy(HIGH, replicas=1, priority=Priority(level=Level.LOW, guaranteed=0))
        await asyncio.sleep(30)
        await there.until_ready(4, 0, seconds=0)
        assert there.fewest == 4
