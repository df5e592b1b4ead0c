"""Services that grow, shrink, sleep and wake, and what they do when there is not room for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from modelyard.backends.memory import Pace
from modelyard.control import applying, deployments, operations
from modelyard.domain.autoscaling import Autoscaling
from modelyard.domain.deployment import DeploymentSpec, Key, Phase, Resources, Stage
from modelyard.domain.errors import Invalid
from modelyard.domain.priority import Level, Priority
from modelyard.domain.strategy import Kind, Strategy
from modelyard.domain.tallies import Reading, Tally
from modelyard.domain.views import State
from modelyard.store import events
from tests.control.world import ADMIN, CHURN, World, running
from tests.support.virtual import clock, on_virtual_time

QUICK = Pace(start_seconds=0.5, stop_seconds=0.1)
NAME = str(CHURN)
BY_LOAD = Autoscaling(min=1, max=6, on="concurrency:8", down_seconds=60)
SLEEPER = Autoscaling(min=0, max=3, on="concurrency:8", idle_seconds=30, down_seconds=10)


async def busy(world: World, active: int, *, key: Key = CHURN) -> None:
    """So many requests are in flight from now on, and others end all the time."""
    before = world.gateway.counted
    ended = sum(tally.requests for tally in before.tallies) + (1 if active else 0)
    running = await world.ready(key)
    shared = {replica.name: active // len(running) for replica in running}
    if running:
        shared[running[0].name] += active % len(running)
    tally = Tally(route=str(key), share=str(key), codes={200: ended})
    world.gateway.counted = Reading(epoch="1", tallies=(tally,), inflight=shared)


async def curve(world: World, load: Callable[[int], int], seconds: int) -> list[int]:
    """How many replicas are ready, second by second, under a load that changes with time."""
    ready = []
    for second in range(seconds):
        await busy(world, load(second))
        await asyncio.sleep(1)
        ready.append(len(await world.ready()))
    return ready


async def said(world: World, reason: str = "Autoscaled") -> list[str]:
    async with world.database.read() as tx:
        found = await events.list(tx, kind="deployment", newest_first=False)
    return [event.message for event in found if event.reason == reason]


@on_virtual_time
async def test_replicas_follow_load_without_flapping() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(autoscaling=BY_LOAD)
        await world.until_running()
        # An hour's hill in miniature, with a ripple on it.
        ready = await curve(world, lambda t: (40 if 40 < t < 120 else 5) + 2 * (t % 4 < 2), 300)
        assert ready[30] == 1
        assert max(ready) == ready[90] == 6
        assert ready[-1] == 1
        steps = [b - a for a, b in pairwise(ready) if a != b]
        turns = sum((a > 0) != (b > 0) for a, b in pairwise(steps))
        assert turns == 1
        deployment = await world.deployment()
        assert (deployment.generation, deployment.revision, deployment.spec.replicas) == (1, 1, 1)
        assert (await said(world))[0].startswith("scaled 1 → ")
        scaled = next(c for c in deployment.status.conditions if c.type == "Scaled")
        assert (scaled.ok, scaled.reason) == (True, "Load")


@on_virtual_time
async def test_a_service_sleeps_and_wakes_at_once_for_a_request() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(autoscaling=SLEEPER)
        await world.until_running()

        async def asleep() -> bool:
            return not await world.backend.observe(CHURN)

        began = clock()
        await world.until(asleep)
        assert 25 < clock() - began < 40
        view = await deployments.get(world.platform, ADMIN, CHURN)
        assert (view.state, view.message) == (State.ASLEEP, "asleep; a request wakes it")
        assert (await deployments.explain(world.platform, ADMIN, CHURN)).healthy
        (share,) = world.gateway.applied[0].shares
        assert (share.targets, share.waking.requests if share.waking else None) == ((), 100)
        began = clock()
        world.gateway.knock(NAME, 20)

        async def awake() -> bool:
            return len(await world.ready()) == 3

        await world.until(awake)
        assert clock() - began < 1.0
        world.gateway.waiting.clear()
        assert await said(world) == ["scaled 1 → 0: no request for 30 s", "scaled 0 → 3: 20 requests wait"]
        await world.until(asleep, seconds=120)
        # A change is tried out, so that whoever makes it sees whether it works.
        await world.deploy(model="churn@2", autoscaling=SLEEPER)
        deployment = await world.until_running()
        assert deployment.status.good_revision == 2


@on_virtual_time
async def test_a_sleeping_service_sleeps_on_when_the_control_plane_starts_again() -> None:
    async with running(pace=QUICK, start=False) as world:
        from modelyard.control.controller import Controller, prepare

        async def work(seconds: float) -> None:
            await prepare(world.platform)
            task = asyncio.create_task(Controller(world.platform, alive=lambda pid: True).run())
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await world.deploy(autoscaling=SLEEPER)
        await work(50)
        assert not await world.backend.observe(CHURN)
        await work(10)
        assert not await world.backend.observe(CHURN)
        world.gateway.knock(NAME)
        await work(5)
        assert len(await world.ready()) == 1


@on_virtual_time
async def test_the_clock_counts_before_load() -> None:
    async with running(pace=QUICK) as world:
        # The clock of these tests begins at 13:46 UTC.
        scaled = replace(SLEEPER, cron="13~14:2", time_zone="UTC")
        await world.deploy(autoscaling=scaled)
        await asyncio.sleep(5)
        assert len(await world.ready()) == 2
        await world.deploy(autoscaling=replace(scaled, cron="13~14:0"))
        await asyncio.sleep(5)
        world.gateway.knock(NAME)
        await asyncio.sleep(5)
        assert not await world.backend.observe(CHURN)
        assert world.gateway.applied[0].waking is None
        assert (await deployments.get(world.platform, ADMIN, CHURN)).state is State.OFFLINE
        await world.deploy(autoscaling=replace(scaled, cron="13~14:0", time_zone="Asia/Shanghai"))
        await asyncio.sleep(5)
        assert len(await world.ready()) == 1
        assert (await said(world))[:2] == ["scaled 1 → 2: from 13 to 14 h", "scaled 2 → 0: from 13 to 14 h"]
        await operations.scale(world.platform, ADMIN, CHURN, 0)
        await asyncio.sleep(5)
        assert not await world.backend.observe(CHURN)


@on_virtual_time
async def test_only_production_scales() -> None:
    async with running(pace=QUICK) as world:
        key = replace(CHURN, stage=Stage.TEST)
        applied = await applying.apply(
            world.platform, ADMIN, key, DeploymentSpec(model="churn@1", autoscaling=SLEEPER)
        )
        assert any("counts only in production" in each for each in applied.view.status.warnings)
        await world.until_running(key)
        await asyncio.sleep(120)
        assert len(await world.ready(key)) == 1
        with pytest.raises(Invalid, match=r"spec.autoscaling.time_zone: 'Mars' is not a time zone"):
            await world.deploy(autoscaling=Autoscaling(cron="1~2:1", time_zone="Mars"))


@on_virtual_time
async def test_a_higher_priority_takes_what_is_not_guaranteed_and_gives_it_back() -> None:
    """The node has four cores. What is taken away is drained, and never below what is guaranteed."""
    async with running(pace=QUICK) as world:
        low, high, core = Key("default", "low"), Key("default", "high"), Resources(cpu="1")
        by_load = replace(BY_LOAD, max=4)
        await world.deploy(
            key=low, resources=core, autoscaling=by_load, priority=Priority(level=Level.LOW, guaranteed=1)
        )
        fewest = 4

        async def watch() -> None:
            nonlocal fewest
            while True:
                await busy(world, 32, key=low)
                routed = await world.gateway.routed()
                leaving = {r.name for r in await world.backend.observe(low) if r.phase is Phase.STOPPING}
                assert not leaving & routed
                fewest = min(fewest, len(await world.ready(low)))
                await asyncio.sleep(0.02)

        async def four() -> bool:
            return len(await world.ready(low)) == 4

        watcher = asyncio.create_task(watch())
        await world.until(four, seconds=60)
        fewest = 4
        await world.deploy(key=high, resources=core, replicas=3, priority=Priority(level=Level.HIGH))

        async def divided() -> bool:
            return (len(await world.ready(low)), len(await world.ready(high))) == (1, 3)

        await world.until(divided, seconds=30)
        await asyncio.sleep(20)
        assert await divided()
        view = await deployments.get(world.platform, ADMIN, low)
        assert (view.wanted_replicas, view.spec.replicas) == (1, 1)
        explained = await deployments.explain(world.platform, ADMIN, low)
        assert "1 of 4 replicas" in explained.summary
        await operations.scale(world.platform, ADMIN, high, 1)

        async def back() -> bool:
            return (len(await world.ready(low)), len(await world.ready(high))) == (3, 1)

        await world.until(back, seconds=60)
        watcher.cancel()
        assert fewest == 1
        assert await said(world, "CapacityShort")
        assert await said(world, "CapacityBack")


@on_virtual_time
async def test_a_whole_new_set_of_a_higher_priority_finds_room_too() -> None:
    """The node has four cores, and blue-green wants all of them for a while."""
    async with running(pace=QUICK) as world:
        low, core = Key("default", "low"), Resources(cpu="1")
        await world.deploy(
            key=low, resources=core, replicas=2, priority=Priority(level=Level.LOW, guaranteed=0)
        )
        green = Strategy(kind=Kind.BLUE_GREEN, keep_seconds=5, interval_seconds=0, min_requests=0)
        high = {"resources": core, "replicas": 2, "priority": Priority(level=Level.HIGH), "strategy": green}
        await world.deploy(**high)
        await world.until_running()
        await world.until_running(low)
        await world.deploy(model="churn@2", **high)
        assert (await world.until_running()).status.good_revision == 2
        await world.until_running(low)
