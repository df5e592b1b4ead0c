"""Canary and blue-green on the whole control plane, in virtual time, with measures that are made up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from modelyard.backends.base import Launch
from modelyard.backends.memory import Pace
from modelyard.control import deployments, operations, rollouts
from modelyard.domain.deployment import Deployment, Resources
from modelyard.domain.endpoint import Route
from modelyard.domain.errors import Conflict, NotFound
from modelyard.domain.observation import BOUNDS, Part, Window
from modelyard.domain.rollout_status import Stand
from modelyard.domain.strategy import Kind, Strategy
from modelyard.domain.views import State
from modelyard.store import events, measures
from tests.control.test_rollouts import QUICK
from tests.control.world import ADMIN, CHURN, World, running
from tests.support.virtual import clock, on_virtual_time

CANARY = Strategy(kind=Kind.CANARY, steps=(5, 50, 100), interval_seconds=20, keep_seconds=20)
TICK = 1.0


class Traffic:
    """A hundred requests a second, divided as the gateway was told to; counted like the platform does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bad_revision = 0
        self.seen: list[dict[int, int]] = []
        """Revision to percent, 0 being all together, each time that the gateway was told something new."""
        world.gateway.on_apply = self.applied

    def applied(self, routes: tuple[Route, ...]) -> None:
        [route] = routes
        assert sum(share.weight for share in route.shares) == 100
        weights = {int(share.name.partition("#")[2] or 0): share.weight for share in route.shares}
        if self.seen[-1:] != [weights]:
            self.seen.append(weights)

    async def flow(self) -> None:
        self.applied(self.world.gateway.applied)
        while True:
            await asyncio.sleep(TICK)
            [route] = self.world.gateway.applied
            counts: Counter[int] = Counter()
            for share in route.shares:
                for target in share.targets:
                    counts[target.revision] += share.weight // len(share.targets)
            found = {Part(str(CHURN), n): self.window(n, count) for n, count in counts.items() if count}
            async with self.world.database.begin() as tx:
                await measures.add_windows(tx, int(clock() // 10 * 10), 10, found)

    def window(self, revision: int, requests: int) -> Window:
        errors = requests if revision == self.bad_revision else 0
        histogram = [0] * len(BOUNDS)
        histogram[20] = requests
        return Window(
            requests=requests,
            errors=errors,
            codes=((500 if errors else 200, requests),),
            histogram=tuple(histogram),
            first_at=clock(),
            last_at=clock(),
        )


@asynccontextmanager
async def serving(strategy: Strategy, *, replicas: int = 2) -> AsyncIterator[tuple[World, Traffic]]:
    """Revision 1 serves, and requests flow."""
    async with running(pace=QUICK) as world:
        await world.deploy(model="churn@1", replicas=replicas, strategy=strategy)
        await world.until_running()
        traffic = Traffic(world)
        task = asyncio.create_task(traffic.flow())
        yield world, traffic
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_stand(world: World, *stands: Stand, seconds: float = 300) -> Deployment:
    async def there() -> bool:
        await asyncio.sleep(0.24)
        rollout = (await world.deployment()).status.rollout
        return rollout is not None and rollout.stand in stands

    await world.until(there, seconds=seconds)
    return await world.deployment()


@on_virtual_time
async def test_a_sound_canary_gets_ever_more_and_then_all() -> None:
    async with serving(CANARY) as (world, traffic):
        await world.deploy(model="churn@2", replicas=2, strategy=CANARY)
        deployment = await until_stand(world, Stand.PROGRESSING)
        assert (await deployments.get(world.platform, ADMIN, CHURN)).state is State.ROLLING_OUT
        assert deployment.status.good_revision == 1
        await until_stand(world, Stand.PROMOTED)
        deployment = await world.until_running()
        await asyncio.sleep(1)
        shown = await rollouts.status(world.platform, ADMIN, CHURN)
    assert deployment.status.good_revision == 2
    steps = [{1: 100, 2: 0}, {1: 95, 2: 5}, {1: 50, 2: 50}, {1: 0, 2: 100}]
    assert [seen for seen in traffic.seen if seen in steps] == steps
    assert traffic.seen[-1] == {0: 100}
    assert (shown.stand, shown.gates[0].passed) == (Stand.PROMOTED, True)
    assert "of the new revision's requests failed" in shown.message


@on_virtual_time
async def test_a_bad_canary_is_rolled_back_with_its_numbers() -> None:
    async with serving(CANARY) as (world, traffic):
        traffic.bad_revision = 2
        await world.deploy(model="churn@2", replicas=2, strategy=CANARY)
        deployment = await until_stand(world, Stand.ROLLED_BACK)
        await asyncio.sleep(10)
        replicas = await world.ready()
        said = await deployments.explain(world.platform, ADMIN, CHURN)
        async with world.database.read() as tx:
            found = await events.list(tx, kind="deployment")
    failed = deployment.status.failed
    assert failed is not None
    assert failed.reason == "GateFailed"
    assert "errors=1%" in failed.message
    assert deployment.status.rollout is not None
    assert deployment.status.rollout.decided_by == "errors=1%"
    assert [r.revision for r in replicas] == [1, 1]
    assert max(seen.get(2, 0) for seen in traffic.seen) == 5
    assert "GateFailed" in {finding.reason for finding in said.findings}
    assert [e for e in found if e.reason == "RolledBackByItself" and "errors=1%" in e.message]


@on_virtual_time
async def test_blue_green_keeps_the_old_set_for_an_instant_way_back() -> None:
    strategy = Strategy(kind=Kind.BLUE_GREEN, keep_seconds=120, gates=("errors=1%", "manual=100"))
    async with serving(strategy) as (world, traffic):
        await world.deploy(model="churn@2", replicas=2, strategy=strategy)
        await until_stand(world, Stand.AWAITING)
        assert len(await world.ready()) == 4
        await rollouts.resume(world.platform, ADMIN, CHURN)
        await until_stand(world, Stand.KEEPING)
        await asyncio.sleep(5)
        assert len(await world.ready()) == 4
        assert (await deployments.get(world.platform, ADMIN, CHURN)).state is State.RUNNING
        began = clock()
        await rollouts.abort(world.platform, ADMIN, CHURN)

        async def back() -> bool:
            [route] = world.gateway.applied
            return {s.name: s.weight for s in route.shares}.get("default/churn#1") == 100

        await world.until(back)
        assert clock() - began < 1.0
        await asyncio.sleep(10)
        assert [r.revision for r in await world.ready()] == [1, 1]
    assert traffic.seen == [{0: 100}, {1: 100, 2: 0}, {1: 0, 2: 100}, {1: 100, 2: 0}, {0: 100}]


@on_virtual_time
async def test_a_pause_holds_the_step_and_a_later_deploy_takes_its_place() -> None:
    async with serving(CANARY) as (world, _):
        assert "--strategy" in (await rollouts.status(world.platform, ADMIN, CHURN)).message
        with pytest.raises(NotFound, match="--mirror"):
            await rollouts.comparison(world.platform, ADMIN, CHURN)
        await world.deploy(model="churn@2", replicas=2, strategy=CANARY)
        await until_stand(world, Stand.PROGRESSING)
        with pytest.raises(Conflict, match="waits for nobody"):
            await rollouts.resume(world.platform, ADMIN, CHURN)
        await rollouts.pause(world.platform, ADMIN, CHURN)
        await asyncio.sleep(200)
        paused = await until_stand(world, Stand.PAUSED)
        assert paused.status.rollout is not None
        assert paused.status.rollout.weight(2) == 5
        await world.deploy(model="churn@2", replicas=2, strategy=CANARY, env={"A": "1"})
        deployment = await until_stand(world, Stand.PROGRESSING)
        assert deployment.status.rollout is not None
        assert (deployment.status.rollout.base, deployment.status.rollout.revision) == (1, 3)
        await operations.roll_back(world.platform, ADMIN, CHURN, to=1)
        deployment = await world.until_running()
        with pytest.raises(Conflict, match="modelyard rollback"):
            await rollouts.abort(world.platform, ADMIN, CHURN)
    assert (deployment.revision, deployment.status.good_revision) == (4, 4)
    assert deployment.status.rollout is not None
    assert deployment.status.rollout.decided_by == "a later change"


@on_virtual_time
async def test_what_goes_offline_meanwhile_is_not_promoted_unseen() -> None:
    async with running(pace=Pace(start_seconds=3, stop_seconds=0.1)) as world:
        green = Strategy(kind=Kind.BLUE_GREEN, keep_seconds=5, interval_seconds=0, min_requests=0)
        await world.deploy(strategy=green)
        await world.until_running()
        await world.deploy(model="churn@2", strategy=green)
        await asyncio.sleep(0.2)
        await operations.scale(world.platform, ADMIN, CHURN, 0)
        await asyncio.sleep(30)
        status = (await world.deployment()).status
        assert status.rollout is not None
        assert (status.good_revision, status.rollout.stand) == (1, Stand.PREPARING)
        assert "no replica is wanted now" in status.rollout.message
        await operations.scale(world.platform, ADMIN, CHURN, 1)
        await asyncio.sleep(30)
        assert (await world.deployment()).status.good_revision == 2


@on_virtual_time
async def test_a_restart_of_what_serves_is_no_rollout_and_of_what_failed_is_another_try() -> None:
    async with serving(CANARY) as (world, traffic):
        await operations.restart(world.platform, ADMIN, CHURN)
        await world.until_running()
        assert (await world.deployment()).status.rollout is None
        traffic.bad_revision = 3
        await world.deploy(model="churn@2", replicas=2, strategy=CANARY)
        await until_stand(world, Stand.ROLLED_BACK)
        await operations.restart(world.platform, ADMIN, CHURN)
        deployment = await until_stand(world, Stand.PROMOTED)
    assert deployment.status.good_revision == 4


@on_virtual_time
async def test_a_canary_that_cannot_start_leaves_the_base_alone() -> None:
    async with serving(CANARY) as (world, traffic):
        await world.deploy(model="churn@2", replicas=2, strategy=CANARY, resources=Resources(cpu="64"))
        await asyncio.sleep(30)
        deployment = await world.deployment()
        assert deployment.status.rollout is not None
        assert deployment.status.rollout.stand is Stand.PREPARING
        assert "0 of 1 replicas" in deployment.status.rollout.message
    assert all(seen.get(2, 0) == 0 for seen in traffic.seen)


@on_virtual_time
async def test_a_rolling_update_with_a_gate_is_taken_back_as_well() -> None:
    strategy = Strategy(gates=("errors=1%",), interval_seconds=30)
    async with serving(strategy) as (world, traffic):
        await world.deploy(model="churn@2", replicas=2, strategy=strategy)
        deployment = await until_stand(world, Stand.PROMOTED)
        assert deployment.status.good_revision == 2
        traffic.bad_revision = 3
        await world.deploy(model="churn@1", replicas=2, strategy=strategy)
        deployment = await until_stand(world, Stand.ROLLED_BACK)
        await asyncio.sleep(20)
        assert [r.revision for r in await world.ready()] == [2, 2]
    assert all(seen == {0: 100} for seen in traffic.seen)


@on_virtual_time
async def test_copies_are_compared_before_any_client_meets_the_new_revision() -> None:
    strategy = Strategy(
        kind=Kind.CANARY, steps=(0, 100), mirror=10, interval_seconds=0, min_requests=0, keep_seconds=5,
        gates=("agreement=99%", "metric:depth<=5"), keep_inputs=True,
    )  # fmt: skip
    async with serving(strategy) as (world, traffic):

        def answers(launch: Launch, path: str) -> bytes:
            if path == "/metrics":
                return b'# TYPE depth gauge\ndepth{a="1"} 1\ndepth{a="2"} 2.5\nother NaN\n'
            label = 1 if launch.version == "1" else 1 + traffic.bad_revision
            output = {"name": "label", "datatype": "INT64", "shape": [1], "data": [label]}
            size = {"at": clock() - 0.1, "seconds": 0.01, "rows": 1, "size": 8}
            numbers = range(20 if launch.replica.endswith("-0") else 0)
            samples = [{"id": f"{clock()}-{n}", "outputs": [output], **size} for n in numbers]
            return json.dumps({"samples": samples}).encode()

        world.backend.front = answers
        traffic.bad_revision = 7
        await world.deploy(model="churn@2", replicas=2, strategy=strategy)
        deployment = await until_stand(world, Stand.ROLLED_BACK)
        report = await rollouts.comparison(world.platform, ADMIN, CHURN)
        assert (report.revision, report.flip_rate) == (2, 1.0)
        assert max(seen.get(2, 0) for seen in traffic.seen) == 0
        traffic.bad_revision = 0
        await operations.restart(world.platform, ADMIN, CHURN)
        deployment = await until_stand(world, Stand.KEEPING)
        [route] = world.gateway.applied
        report = await rollouts.comparison(world.platform, ADMIN, CHURN)
    assert deployment.status.rollout is not None
    assert "depth is 3.5" in deployment.status.rollout.tallies[1].message
    assert (report.revision, report.flip_rate) == (3, 0.0)
    assert report.pairs >= 50
    assert (route.mirrors, route.compares) == ((), False)
