"""The sampler on virtual time: each request is kept once, whoever looks and whenever it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from modelyard.control import controller, endpoints, measuring, metrics, operations
from modelyard.control.reconcilers.sampling import PERIOD_SECONDS, Sampler
from modelyard.domain.errors import Invalid
from modelyard.domain.observation import MIRROR
from modelyard.domain.tallies import Reading, Tally
from tests.control.world import ADMIN, CHURN, World, build, publish, running
from tests.support.inline import InlineDatabase
from tests.support.virtual import clock, on_virtual_time

ONE = Tally(route="default/churn", share="default/churn#1", revision=1)


def counted(world: World, *tallies: Tally, epoch: str = "1", **inflight: int) -> None:
    """What the gateway says from now on."""
    world.gateway.counted = Reading(epoch=epoch, tallies=tallies, inflight=inflight)


def answered(n: int, tally: Tally = ONE, **more: int) -> Tally:
    """So many requests of 1 ms, answered by one replica."""
    codes = {200: n, **{int(code.removeprefix("c")): count for code, count in more.items()}}
    return replace(tally, codes=codes, microseconds=1000 * n, times={1000: n}, replicas={"r1": n})


@asynccontextmanager
async def still() -> AsyncIterator[World]:
    """A platform in which nothing happens by itself."""
    world = build(InlineDatabase())
    await controller.prepare(world.platform)
    await publish(world.database, "churn", 2)
    yield world
    await world.database.close()


async def requests(world: World, **filters: object) -> int:
    found = await measuring.window(
        world.platform,
        CHURN,
        since=0.0,
        until=clock() + 1,
        **filters,  # type: ignore[arg-type]
    )
    return found.requests


@on_virtual_time
async def test_what_is_new_is_kept_by_revision_with_copies_apart() -> None:
    async with still() as world:
        sampler = Sampler(world.platform)
        two, copies = replace(ONE, share="default/churn#2", revision=2), replace(ONE, route=MIRROR)
        refused = replace(ONE, share="default/churn", revision=0, codes={401: 2})
        for n in (3, 5):
            counted(world, answered(n), answered(2 * n, two), answered(1, copies), refused)
            await sampler.reconcile("all")
            await asyncio.sleep(PERIOD_SECONDS)
        assert await requests(world) == 5 + 10 + 2
        assert await requests(world, revision=1) == 5
        assert await requests(world, revision=2) == 10
        assert await requests(world, revision=0) == 2
        assert await requests(world, mirrored=True) == 1


@on_virtual_time
async def test_a_restart_of_the_control_plane_loses_and_doubles_nothing() -> None:
    async with still() as world:
        for n in range(1, 8):
            counted(world, answered(10 * n))
            # Each look is another control plane's, and some have died in between without one.
            if n % 3:
                await Sampler(world.platform).reconcile("all")
            await asyncio.sleep(PERIOD_SECONDS)
        await Sampler(world.platform).reconcile("all")
        assert await requests(world) == 70


@on_virtual_time
async def test_a_restart_of_the_gateway_begins_to_count_anew() -> None:
    async with still() as world:
        sampler = Sampler(world.platform)
        for epoch, n in (("1", 10), ("1", 14), ("2", 20), ("2", 21)):
            counted(world, answered(n), epoch=epoch)
            await sampler.reconcile("all")
        world.gateway.kill()
        await sampler.reconcile("all")
        assert await requests(world) == 14 + 21


@on_virtual_time
async def test_counters_that_the_gateway_forgot_begin_anew() -> None:
    async with still() as world:
        sampler = Sampler(world.platform)
        for tallies in ((answered(10),), (), (answered(12),), (answered(3),)):
            counted(world, *tallies)
            await sampler.reconcile("all")
        assert await requests(world) == 10 + 12 + 3


@on_virtual_time
async def test_an_endpoint_knows_all_its_requests_also_those_that_were_not_looked_at_yet() -> None:
    async with running() as world:

        async def total() -> int:
            (found,) = await endpoints.list(world.platform, ADMIN, "default")
            return found.requests

        await world.deploy()
        await world.until_running()
        assert await total() == 0
        for tallies, requests in (((answered(7),), 7), ((answered(9),), 9), ((), 9), ((answered(2),), 11)):
            counted(world, *tallies)
            assert await total() == requests
            await asyncio.sleep(PERIOD_SECONDS)
            assert await total() == requests
        counted(world, answered(4), epoch="2")
        assert await total() == 15
        await operations.delete(world.platform, ADMIN, CHURN)
        counted(world, epoch="2")

        async def gone() -> bool:
            return await endpoints.list(world.platform, ADMIN, "default") == ()

        await world.until(gone)
        await asyncio.sleep(2 * PERIOD_SECONDS)
        await world.deploy()
        assert await total() == 0


@on_virtual_time
async def test_of_two_that_look_at_the_same_time_one_counts() -> None:
    async with still() as world:
        samplers = [Sampler(world.platform), Sampler(world.platform)]
        for n in range(1, 20):
            counted(world, answered(n))
            await asyncio.gather(*(sampler.reconcile("all") for sampler in samplers))
            await asyncio.sleep(0.5)
        assert await requests(world) == 19


@on_virtual_time
async def test_a_running_platform_samples_every_few_seconds_and_knows_what_replicas_use() -> None:
    async with running() as world:
        began = clock()
        world.backend.use = lambda sample: replace(
            sample,
            cpu_seconds={"1": (clock() - sample.started_at) / 2},
            memory_bytes=1000,
            queue=2,
            gpu_ratio=0.5,
        )
        await world.deploy(replicas=2)
        await world.until_running()
        (name, _) = sorted(replica.name for replica in await world.ready())
        inflight = {name: 6}
        for n in range(1, 13):
            tally = replace(answered(50 * n), replicas={name: 50 * n})
            world.gateway.counted = Reading(epoch="1", tallies=(tally,), inflight=inflight)
            await asyncio.sleep(PERIOD_SECONDS)
        since, until = clock() - 30.0, clock()
        usage = await measuring.usage(world.platform, CHURN, since=since, until=until)
        assert usage.cpu_cores == pytest.approx(1.0, rel=0.01)
        assert (usage.memory_bytes, usage.gpu_ratio) == (2000, pytest.approx(0.5))
        assert (usage.inflight, usage.queue) == (pytest.approx(6.0), pytest.approx(4.0))
        assert usage.requests_per_second == pytest.approx(10.0, rel=0.2)
        each = await measuring.usages(world.platform, CHURN, since=since, until=until)
        assert [round(u.inflight) for u in each.values()] == [6, 0]
        assert await requests(world) == 600
        shown = await metrics.of(world.platform, ADMIN, CHURN, since=began, until=until + 1, step=10.0)
        assert sum(point.figures.requests for point in shown.points) == shown.total.requests == 600
        assert [(r.revision, r.figures.requests) for r in shown.revisions] == [(1, 600)]
        assert shown.total.codes == {"200": 600}
        assert shown.total.mean_seconds == pytest.approx(0.001)
        assert shown.total.last_access is not None
        assert {r.replica: r.requests for r in shown.replicas}[name] == 600
        assert shown.mirrored is None


@on_virtual_time
async def test_a_deleted_service_takes_its_figures_with_it() -> None:
    async with running() as world:
        await world.deploy()
        await world.until_running()
        counted(world, answered(5))
        await asyncio.sleep(2 * PERIOD_SECONDS)
        assert await requests(world) == 5
        await operations.delete(world.platform, ADMIN, CHURN)

        async def gone() -> bool:
            return await requests(world) == 0

        await world.until(gone)


@on_virtual_time
async def test_a_question_that_has_no_answer_says_why() -> None:
    async with running() as world:
        await world.deploy()
        for since, step, path in (
            (clock() + 1, None, "since"),
            (clock() - 60, 1.0, "step"),
            (0.0, 10.0, "step"),
        ):
            with pytest.raises(Invalid) as raised:
                await metrics.of(world.platform, ADMIN, CHURN, since=since, until=clock(), step=step)
            assert raised.value.errors[0].path == path
