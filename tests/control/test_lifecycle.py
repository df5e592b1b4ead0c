"""From stage to stage: plan, promote, clear, and signatures that would break callers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from modelyard.control import applying, deployments, endpoints, lifecycle, operations
from modelyard.control.applying import Condition
from modelyard.domain.autoscaling import Autoscaling
from modelyard.domain.deployment import DeploymentSpec, Key, Resources, Stage
from modelyard.domain.errors import Conflict, Invalid, NotFound, Refused
from modelyard.domain.model import Datatype, ModelVersion
from modelyard.domain.planning import Act
from modelyard.domain.traffic_spec import EndpointSpec, MirrorTo
from modelyard.domain.views import State
from modelyard.store import events, versions
from tests.control.world import ADMIN, CHURN, World, running, version
from tests.support.virtual import on_virtual_time

TEST = Key("default", "churn", Stage.TEST)
DEBUG = Key("default", "churn", Stage.DEBUG)


def other_datatype(number: str) -> ModelVersion:
    """A version that takes another datatype than its siblings."""
    made = version("default", "churn", number)
    [artifact] = made.artifacts
    [tensor] = artifact.signature.inputs
    signature = replace(artifact.signature, inputs=(replace(tensor, datatype=Datatype.INT64),))
    return replace(made, artifacts=(replace(artifact, signature=signature),))


async def publish(world: World, made: ModelVersion) -> None:
    async with world.database.begin() as tx:
        await versions.insert(tx, made)


@on_virtual_time
async def test_what_was_tested_goes_to_production_at_its_size_and_can_be_taken_back() -> None:
    async with running() as world:
        await world.deploy(replicas=3, public=True)
        await world.until_running()
        await world.deploy(key=TEST, model="churn@2", env={"A": "1"})
        await world.until_running(TEST)
        applied = await lifecycle.promote(world.platform, ADMIN, TEST, clear=True)
        spec = applied.view.spec
        assert (spec.model, spec.replicas, spec.public, spec.env) == ("churn@2", 3, True, {"A": "1"})
        after = await world.until_running()
        assert after.revision == 2
        assert (await world.until_running(TEST)).spec.replicas == 0
        [newest, _] = (await deployments.history(world.platform, ADMIN, CHURN)).items
        assert newest.reason == "promote churn@test revision 1"
        await operations.roll_back(world.platform, ADMIN, CHURN)
        assert (await world.until_running()).spec.model == "churn@1"


@on_virtual_time
async def test_a_first_promotion_makes_the_production_service() -> None:
    async with running() as world:
        await world.deploy(key=TEST)
        await world.until_running(TEST)
        plan = await lifecycle.plan_promotion(world.platform, ADMIN, TEST)
        assert (plan.act, plan.service, plan.revision) == (Act.CREATE, "churn", 1)
        assert (await lifecycle.promote(world.platform, ADMIN, TEST)).created
        assert (await world.until_running()).spec.replicas == 1


@on_virtual_time
async def test_only_what_is_ready_is_promoted_and_only_one_stage_further() -> None:
    async with running() as world:
        with pytest.raises(NotFound):
            await lifecycle.promote(world.platform, ADMIN, TEST)
        await world.deploy()
        with pytest.raises(Invalid, match="is in production"):
            await lifecycle.promote(world.platform, ADMIN, CHURN)
        await world.deploy(key=TEST, replicas=0)
        with pytest.raises(Conflict, match="is offline"):
            await lifecycle.promote(world.platform, ADMIN, TEST)
        await world.deploy(key=TEST, replicas=1)
        with pytest.raises(Conflict, match="modelyard explain churn@test"):
            await lifecycle.promote(world.platform, ADMIN, TEST)
        await world.until_running()
        assert (await world.deployment()).revision == 1


@on_virtual_time
async def test_a_debug_stage_leads_to_test() -> None:
    async with running() as world:
        await world.deploy(key=DEBUG)
        view = (await lifecycle.promote(world.platform, ADMIN, DEBUG)).view
        assert view.service == "churn@test"


@on_virtual_time
async def test_clearing_takes_every_stage_offline_and_keeps_spec_and_history() -> None:
    async with running() as world:
        for key in (CHURN, TEST):
            await world.deploy(key=key, replicas=2)
            await world.until_running(key)
        views = await lifecycle.clear(world.platform, ADMIN, TEST, every_stage=True)
        assert [view.service for view in views] == ["churn", "churn@test"]
        for key in (CHURN, TEST):
            await world.until_running(key)
            assert await world.ready(key) == []
            view = await deployments.get(world.platform, ADMIN, key)
            assert (view.state, view.spec.model) == (State.OFFLINE, "churn@1")
        generation = (await world.deployment()).generation
        await lifecycle.clear(world.platform, ADMIN, CHURN, every_stage=True)
        assert (await world.deployment()).generation == generation
        async with world.database.read() as tx:
            found = await events.list(tx, project="default", kind="deployment", limit=100)
        assert [e.name for e in found if e.reason == "Cleared"] == ["churn@test", "churn"]


@on_virtual_time
async def test_clearing_what_is_not_there_says_so() -> None:
    async with running() as world:
        with pytest.raises(NotFound):
            await lifecycle.clear(world.platform, ADMIN, CHURN, every_stage=True)


@on_virtual_time
async def test_a_breaking_signature_is_refused_unless_it_is_allowed() -> None:
    async with running() as world:
        await publish(world, other_datatype("7"))
        await world.deploy()
        await world.until_running()
        broken = DeploymentSpec(model="churn@7")
        with pytest.raises(Refused, match=r"inputs\.input: the datatype was FP64 and would be INT64") as told:
            await applying.apply(world.platform, ADMIN, CHURN, broken)
        assert told.value.errors[0].path == "spec.model.inputs.input"
        assert (await world.deployment()).spec.model == "churn@1"
        plan = await applying.plan(world.platform, ADMIN, CHURN, broken)
        assert plan.breaking
        assert plan.act is Act.REPLACE
        await applying.apply(world.platform, ADMIN, TEST, broken)
        await world.until_running(TEST)
        with pytest.raises(Refused):
            await lifecycle.promote(world.platform, ADMIN, TEST)
        await applying.apply(world.platform, ADMIN, CHURN, broken, Condition(allow_breaking=True))
        assert (await world.until_running()).spec.model == "churn@7"


@on_virtual_time
async def test_an_offline_service_breaks_nobody() -> None:
    async with running() as world:
        await publish(world, other_datatype("7"))
        await world.deploy(replicas=0)
        applied = await applying.apply(world.platform, ADMIN, CHURN, DeploymentSpec(model="churn@7"))
        assert (applied.changed, applied.view.spec.model, applied.view.revision) == (True, "churn@7", 2)


@on_virtual_time
async def test_a_plan_says_what_changes_and_what_has_no_room_and_changes_nothing() -> None:
    async with running() as world:
        await world.deploy(resources=Resources(cpu="1"))
        await world.until_running()
        before = await world.deployment()
        wanted = DeploymentSpec(model="churn@2", replicas=2, resources=Resources(cpu="1000"))
        plan = await applying.plan(world.platform, ADMIN, CHURN, wanted)
        assert [str(change) for change in plan.changes] == [
            "model churn@1 → churn@2", "replicas 1 → 2", "cpu 1 → 1000",
        ]  # fmt: skip
        assert [(t.before, t.after) for t in plan.totals] == [("1", "2000")]
        assert plan.fits.startswith("0 of 2 new replicas have room now: insufficient cpu")
        same = await applying.plan(world.platform, ADMIN, CHURN, before.spec)
        assert (same.act, same.changes, same.fits) == (Act.NOTHING, (), "")
        assert await world.deployment() == before


@on_virtual_time
async def test_a_plan_counts_the_replicas_that_load_and_clock_decide() -> None:
    async with running() as world:
        by_load = Autoscaling(min=3, max=9, on="concurrency:8")
        sleeper = Autoscaling(min=0, max=9, on="concurrency:8", idle_seconds=30)
        for scaled, before, after in ((by_load, "3", "3"), (sleeper, "0", "1")):
            await world.deploy(resources=Resources(cpu="1"), autoscaling=scaled)
            await asyncio.sleep(60)
            wanted = replace((await world.deployment()).spec, model="churn@2")
            (total,) = (await applying.plan(world.platform, ADMIN, CHURN, wanted)).totals
            assert (total.before, total.after) == (before, after)


@on_virtual_time
async def test_what_names_a_removed_service_can_still_be_changed_in_other_ways() -> None:
    async with running() as world:
        await world.deploy()
        await world.deploy(key=Key("default", "other"))
        await world.until_running(Key("default", "other"))
        spec = EndpointSpec(weights={"other": 10}, mirrors=(MirrorTo(to="other", percent=5),))
        await endpoints.apply(world.platform, ADMIN, CHURN, spec)
        await operations.delete(world.platform, ADMIN, Key("default", "other"))
        less = EndpointSpec(weights={"other": 5})
        assert (await endpoints.apply(world.platform, ADMIN, CHURN, less)).spec == less
        with pytest.raises(Invalid, match="there is no deployment another"):
            await endpoints.apply(world.platform, ADMIN, CHURN, EndpointSpec(weights={"another": 5}))
