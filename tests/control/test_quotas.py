"""A project's quota: refused at once, kept while load grows, and never a reason to stop what runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from modelyard.backends.memory import Pace
from modelyard.control import applying, deployments, operations, projects, quotas
from modelyard.domain import quota
from modelyard.domain.access import Role
from modelyard.domain.autoscaling import Autoscaling
from modelyard.domain.deployment import DeploymentSpec, Failure, Key, Resources
from modelyard.domain.errors import Conflict, Forbidden, Refused
from modelyard.domain.planning import Plan
from modelyard.domain.project import ProjectSpec
from modelyard.domain.views import State
from modelyard.store import Transaction, events
from tests.control.test_scaling import busy
from tests.control.world import ADMIN, CHURN, World, member, running
from tests.support.virtual import on_virtual_time

QUICK = Pace(start_seconds=0.5, stop_seconds=0.1)
OTHER = Key("default", "other")
CORE = Resources(cpu="1", memory="100Mi")


async def limit(world: World, text: str) -> None:
    """The administrator says how much the project may have."""
    await projects.apply(world.platform, ADMIN, "default", ProjectSpec(quota=quota.parse(text)))


async def replicas(world: World, key: Key) -> int:
    return len(await world.ready(key))


async def said(world: World) -> list[str]:
    async with world.database.read() as tx:
        found = await events.list(tx, kind="deployment", newest_first=False)
    return [event.reason for event in found if event.reason in ("QuotaExceeded", "QuotaBack")]


@on_virtual_time
async def test_what_has_no_room_is_refused_before_anything_is_stored() -> None:
    async with running(pace=QUICK) as world:
        await limit(world, "cpu=3,memory=1Gi")
        await world.deploy(resources=CORE, replicas=2)
        with pytest.raises(
            Refused, match=r"quota of project default is 3 cpu: 2 in use, 2 more needed; "
        ) as no:
            await world.deploy(key=OTHER, resources=CORE, replicas=2)
        assert [each.path for each in no.value.errors] == ["spec.resources.cpu"]
        with pytest.raises(Refused, match="says what a replica needs: --cpu"):
            await world.deploy(key=OTHER, replicas=1)
        with pytest.raises(Refused, match="4 more needed"):
            await operations.scale(world.platform, ADMIN, CHURN, 4)
        spec = DeploymentSpec(model="churn@1", resources=CORE, replicas=2)
        with pytest.raises(Refused):
            await applying.preview(world.platform, ADMIN, OTHER, spec)
        plan: Plan = await applying.plan(world.platform, ADMIN, OTHER, spec)
        assert "2 more needed" in plan.fits
        await world.until_running()
        found = {
            use.name: (use.used, use.limit) for use in await quotas.uses(world.platform, ADMIN, "default")
        }
        assert found == {
            "cpu": ("2", "3"), "memory": ("200Mi", "1Gi"), "gpus": ("0", ""), "replicas": ("2", ""),
        }  # fmt: skip


@on_virtual_time
async def test_a_service_that_fills_its_quota_is_replaced_without_a_gap() -> None:
    async with running(pace=QUICK) as world:
        await limit(world, "cpu=2,replicas=2")
        await world.deploy(resources=CORE, replicas=2)
        await world.until_running()
        await world.deploy(model="churn@2", resources=CORE, replicas=2)
        fewest = 2

        async def watch() -> None:
            nonlocal fewest
            while True:
                fewest = min(fewest, await replicas(world, CHURN))
                await asyncio.sleep(0.1)

        watcher = asyncio.create_task(watch())
        assert (await world.until_running()).status.good_revision == 2
        watcher.cancel()
        assert fewest == 2


@on_virtual_time
async def test_load_fills_the_quota_and_no_more_until_it_is_raised() -> None:
    async with running(pace=QUICK) as world:
        await limit(world, "replicas=3")
        by_load = Autoscaling(min=1, max=6, on="concurrency:8", down_seconds=60)
        await world.deploy(autoscaling=by_load)
        await world.until_running()
        await busy(world, 40)

        async def three() -> bool:
            return await replicas(world, CHURN) == 3

        await world.until(three)
        await asyncio.sleep(20)
        assert await three()
        view = await deployments.get(world.platform, ADMIN, CHURN)
        assert (view.wanted_replicas, view.state) == (3, State.RUNNING)
        explained = await deployments.explain(world.platform, ADMIN, CHURN)
        (finding,) = explained.findings
        assert finding.reason == "QuotaExceeded"
        assert finding.message.startswith(
            "3 of 5 replicas: the quota of project default is 3 replicas: 3 in use"
        )
        await limit(world, "replicas=5")

        async def five() -> bool:
            return await replicas(world, CHURN) == 5

        await world.until(five)
        assert await said(world) == ["QuotaExceeded", "QuotaBack"]


@on_virtual_time
async def test_a_smaller_quota_stops_nothing_that_runs_and_keeps_what_ended_from_coming_back() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(resources=CORE, replicas=2)
        await world.until_running()
        await limit(world, "cpu=1")
        await asyncio.sleep(20)
        assert await replicas(world, CHURN) == 2
        await operations.scale(world.platform, ADMIN, CHURN, 1)
        with pytest.raises(Refused):
            await operations.scale(world.platform, ADMIN, CHURN, 2)
        await world.until_running()
        await limit(world, "none")
        await operations.scale(world.platform, ADMIN, CHURN, 2)
        await world.until_running()


@on_virtual_time
async def test_a_service_that_the_quota_leaves_nothing_waits_and_says_so() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(resources=CORE, replicas=0)
        await world.deploy(key=OTHER, resources=CORE)
        await world.until_running(OTHER)
        await limit(world, "replicas=1")
        async with world.database.begin() as tx:  # as load or clock may want it, without asking anybody
            stored = await deployments.found(tx, CHURN)
            wanted = replace(stored, spec=replace(stored.spec, replicas=1))
            await deployments.store.update(tx, wanted, expected=stored.generation)
        world.platform.hint("deployment", str(CHURN))

        async def waits() -> bool:
            view = await deployments.get(world.platform, ADMIN, CHURN)
            return view.state is State.PENDING and "quota of project default" in view.message

        await world.until(waits)
        await asyncio.sleep(5)
        assert await replicas(world, CHURN) == 0
        await operations.delete(world.platform, ADMIN, OTHER)
        await world.until_running()


@on_virtual_time
async def test_going_back_to_what_asked_for_more_needs_room_too() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(resources=Resources(cpu="3"), replicas=1)
        await world.until_running()
        await world.deploy(resources=CORE, replicas=1)
        await world.until_running()
        await limit(world, "cpu=2")
        with pytest.raises(Refused, match="quota of project default is 2 cpu"):
            await operations.roll_back(world.platform, ADMIN, CHURN, to=1)
        await limit(world, "cpu=3")
        await operations.roll_back(world.platform, ADMIN, CHURN, to=1)
        await world.until_running()


@on_virtual_time
async def test_what_runs_counts_and_not_what_failed() -> None:
    async with running(pace=QUICK) as world:
        bad = Failure(reason="ModelLoadFailed", message="cannot read the file")
        world.backend.load = lambda launch: bad if launch.version == "2" else None
        await limit(world, "cpu=3")
        await world.deploy(resources=Resources(cpu="2"), replicas=1)
        await world.until_running()
        await world.deploy(model="churn@2", resources=CORE, replicas=1)

        async def fell_back() -> bool:
            found = await world.deployment()
            return (found.status.failed_revision, found.wanted_revision) == (2, 1)

        await world.until(fell_back, seconds=120)
        with pytest.raises(Refused, match="2 in use, 2 more needed"):
            await world.deploy(key=OTHER, resources=Resources(cpu="2"), replicas=1)
        with pytest.raises(Refused, match="quota of project default is 3 cpu"):
            await operations.scale(world.platform, ADMIN, CHURN, 2)
        await world.deploy(resources=Resources(cpu="1"), replicas=1)
        await world.until_running()
        await world.deploy(key=OTHER, resources=Resources(cpu="2"), replicas=1)
        await world.until_running(OTHER)


@on_virtual_time
async def test_nobody_undoes_what_an_administrator_changes_meanwhile() -> None:
    async with running(pace=QUICK) as world:
        owner = member("ana", Role.OWNER)
        large = ProjectSpec(quota=quota.parse("cpu=64"))
        before = await projects.apply(world.platform, ADMIN, "default", large)

        @contextlib.asynccontextmanager
        async def begin_late() -> AsyncIterator[Transaction]:
            await limit(world, "cpu=2")  # between what the owner's change was judged by and the change
            async with world.database.begin() as tx:
                yield tx

        late = SimpleNamespace(read=world.database.read, begin=begin_late)
        platform = replace(world.platform, database=late)  # type: ignore[arg-type]
        for later in (None, 0, 1):
            expected = None if later is None else before.generation + later
            with pytest.raises(Conflict):
                await projects.apply(platform, owner, "default", large, expected=expected)
            found = await projects.get(world.platform, ADMIN, "default")
            assert found.spec.quota == (large.quota if later == 1 else quota.parse("cpu=2"))
            before = await projects.apply(world.platform, ADMIN, "default", large)


@on_virtual_time
async def test_quotas_are_for_administrators() -> None:
    async with running(pace=QUICK) as world:
        owner, spec = member("ana", Role.OWNER), ProjectSpec(quota=quota.parse("cpu=8"))
        with pytest.raises(Forbidden):
            await projects.apply(world.platform, owner, "default", spec)
        await projects.apply(world.platform, ADMIN, "default", spec)
        with pytest.raises(Forbidden):
            await projects.apply(world.platform, owner, "default", ProjectSpec())
        await projects.apply(world.platform, owner, "default", replace(spec, description="ours"))
        assert await quotas.uses(world.platform, member("eve", Role.VIEWER), "default")
