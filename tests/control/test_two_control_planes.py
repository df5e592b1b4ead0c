from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from modelyard.backends.memory import Pace
from modelyard.control import kinds, operations
from modelyard.control import loop as loops
from modelyard.control.controller import Controller, prepare
from modelyard.control.platform import Hints
from modelyard.domain.deployment import Key, Phase
from modelyard.store import Database, work
from tests.control.world import ADMIN, World, build, publish
from tests.support import postgres

KEYS = tuple(Key("default", f"d{number}") for number in range(8))
PACE = loops.Pace(lease_seconds=2.0, poll_seconds=0.2)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


async def all_ready(world: World, replicas: int) -> bool:
    seen = [await world.backend.observe(key) for key in KEYS]
    return all([r.phase for r in each] == [Phase.READY] * replicas for each in seen)


async def until(world: World, replicas: int) -> float:
    began = time.monotonic()
    while not await all_ready(world, replicas):
        assert time.monotonic() - began < 30, "not ready within 30 s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def until_both_worked(database: Database, done: dict[str, int]) -> None:
    """What is due without a hint is taken by whoever looks first, which is not always the same one."""
    began = time.monotonic()
    while min(done.values()) == 0:
        assert time.monotonic() - began < 30, done
        async with database.begin() as tx:
            for key in KEYS:
                await work.put(tx, kinds.DEPLOYMENT, str(key), due_at=time.time())
        await asyncio.sleep(0.1)


@pytest.mark.timeout(90)
async def test_two_control_planes_share_a_postgresql_and_one_may_be_killed(server: postgres.Postgres) -> None:
    """Every key is one's at a time: else replicas would be started twice, or stopped by the other."""
    first = await Database.open(server.url)
    second = await Database.open(server.url)
    world = build(first, pace=Pace(start_seconds=0.2, stop_seconds=0.1), now=time.time)
    await prepare(world.platform)
    await publish(first, "churn", 2)
    other = replace(world.platform, database=second, hints=Hints(), identity="other")
    done: dict[str, int] = {"one": 0, "two": 0}

    def count(name: str) -> loops.Observe:
        def counted(kind: str, outcome: str, seconds: float) -> None:
            done[name] += kind == "deployment" and outcome == "ok"

        return counted

    tasks = [
        asyncio.create_task(Controller(platform, pace=PACE, observe=count(name), alive=lambda _: True).run())
        for name, platform in (("one", world.platform), ("two", other))
    ]
    for key in KEYS:
        await world.deploy(key=key)
    await until(world, 1)
    await until_both_worked(first, done)
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    for key in KEYS:
        await operations.scale(world.platform, ADMIN, key, 2)
    assert await until(world, 2) < 15
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    await first.close()
    await second.close()
