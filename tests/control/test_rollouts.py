from __future__ import annotations

import asyncio

import pytest

from modelyard.backends.memory import Pace
from modelyard.control import applying, deployments, operations, projects, runtimes, secrets
from modelyard.domain.deployment import DeploymentSpec, Failure, Key, Phase, Resources, Stage
from modelyard.domain.errors import Conflict, NotFound
from modelyard.domain.naming import ModelRef
from modelyard.domain.project import ProjectSpec
from modelyard.domain.runtime import RuntimeSpec
from modelyard.domain.views import State
from modelyard.store import deployments as store
from modelyard.store import events
from tests.control.world import ADMIN, CHURN, World, publish, running
from tests.support.virtual import clock, on_virtual_time

QUICK = Pace(start_seconds=0.1, stop_seconds=0.05, build_seconds=1.0)


async def reasons(world: World) -> list[str]:
    async with world.database.read() as tx:
        found = await events.list(tx, kind="deployment", newest_first=False)
    return [event.reason for event in found]


async def until_gone(world: World, key: Key = CHURN) -> None:
    async def gone() -> bool:
        async with world.database.read() as tx:
            stored = await store.get(tx, key)
        return stored is None and not await world.backend.observe(key)

    await world.until(gone)


@on_virtual_time
async def test_a_deployment_comes_up_and_is_routed() -> None:
    async with running() as world:
        deployment = await world.deploy(replicas=2)
        assert deployment.spec.model == "churn@1"
        deployment = await world.until_running()
        view = await deployments.get(world.platform, ADMIN, CHURN)
    assert (view.state, deployment.revision, deployment.status.good_revision) == (State.RUNNING, 1, 1)
    assert view.url == "http://127.0.0.1:8080/services/default/churn"


@on_virtual_time
async def test_a_change_is_reconciled_within_a_fifth_of_a_second() -> None:
    async with running(pace=QUICK) as world:
        began = clock()
        await world.deploy()

        async def started() -> bool:
            return bool(await world.backend.observe(CHURN))

        await world.until(started)
        assert clock() - began <= 0.2


@on_virtual_time
async def test_a_rolling_update_always_has_enough_replicas_routed() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=2)
        await world.until_running()
        fewest = []

        async def watch() -> None:
            while True:
                routed = await world.gateway.routed()
                fewest.append(sum(r.name in routed for r in await world.ready()))
                await asyncio.sleep(0.005)

        watcher = asyncio.create_task(watch())
        for model in ("churn@2", "churn@1", "churn@2"):
            await world.deploy(model=model, replicas=2)
            deployment = await world.until_running()
        watcher.cancel()
    assert deployment.revision == 4
    assert min(fewest) >= 2


@on_virtual_time
async def test_the_same_spec_again_changes_nothing() -> None:
    async with running(pace=QUICK) as world:
        first = await world.deploy()
        spec = DeploymentSpec(model="churn@1")
        again = await applying.apply(world.platform, ADMIN, CHURN, spec)
    assert (again.created, again.changed) == (False, False)
    assert again.view.generation == first.generation


@on_virtual_time
async def test_scaling_keeps_the_revision_and_the_replicas_that_run() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=1)
        await world.until_running()
        [first] = await world.ready()
        await operations.scale(world.platform, ADMIN, CHURN, 3)
        deployment = await world.until_running()
        names = {(r.name, r.started_at) for r in await world.ready()}
        history = await deployments.history(world.platform, ADMIN, CHURN)
    assert deployment.revision == 1
    assert (first.name, first.started_at) in names
    assert [revision.number for revision in history.items] == [1]


@on_virtual_time
async def test_zero_replicas_is_offline_and_one_brings_it_back() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=1)
        await world.until_running()
        await operations.scale(world.platform, ADMIN, CHURN, 0)
        await world.until_running()
        assert (await deployments.get(world.platform, ADMIN, CHURN)).state is State.OFFLINE
        await operations.scale(world.platform, ADMIN, CHURN, 1)
        await world.until_running()


@on_virtual_time
async def test_rolling_back_runs_what_ran_before_at_the_size_of_today() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(model="churn@1", replicas=1)
        await world.deploy(model="churn@2", replicas=3)
        await world.until_running()
        await operations.roll_back(world.platform, ADMIN, CHURN)
        deployment = await world.until_running()
        history = await deployments.history(world.platform, ADMIN, CHURN)
    assert (deployment.revision, deployment.spec.model, deployment.spec.replicas) == (3, "churn@1", 3)
    assert history.items[0].reason == "rollback to 1"


@on_virtual_time
async def test_restarting_replaces_every_replica() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=2)
        await world.until_running()
        before = {r.name for r in await world.ready()}
        await operations.restart(world.platform, ADMIN, CHURN)
        await world.until_running()
        after = {r.name for r in await world.ready()}
    assert not before & after


@on_virtual_time
async def test_a_version_that_does_not_load_never_takes_over() -> None:
    async with running(pace=QUICK) as world:
        bad = Failure(reason="ModelLoadFailed", message="cannot read the file")
        world.backend.load = lambda launch: bad if launch.version == "2" else None
        await world.deploy(model="churn@1", replicas=1)
        await world.until_running()
        [old] = await world.ready()
        await world.deploy(model="churn@2", replicas=1)

        async def gave_up() -> bool:
            return (await world.deployment()).status.failed_revision == 2

        await world.until(gave_up, seconds=120)
        assert old in await world.ready()
        said = await deployments.explain(world.platform, ADMIN, CHURN)
        assert {"ModelLoadFailed"} <= {finding.reason for finding in said.findings}
        assert "RolledBackByItself" in await reasons(world)
        await world.deploy(model="churn@1", replicas=1)
        await world.until_running()


@on_virtual_time
async def test_a_crashed_replica_is_replaced_and_routed_again_in_under_two_seconds() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=1)
        await world.until_running()
        await asyncio.sleep(30)
        [victim] = await world.ready()
        died = clock()
        world.backend.crash(CHURN, victim.name)
        await world.until_running()
        assert clock() - died < 2.0
        assert "ReplicaFailed" in await reasons(world)


@on_virtual_time
async def test_a_gateway_that_dies_is_started_again_in_under_two_seconds() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy()
        await world.until_running()
        world.gateway.kill()
        died = clock()
        await world.until(lambda: asyncio.sleep(0, world.gateway.alive))
        assert clock() - died < 1.0


@on_virtual_time
async def test_a_gateway_that_cannot_start_is_named_with_its_remedy() -> None:
    async with running(pace=QUICK) as world:
        world.gateway.failure = Failure(reason="GatewayPortInUse", message="port 8080 is taken")
        await world.deploy()
        await asyncio.sleep(5)
        said = await deployments.explain(world.platform, ADMIN, CHURN)
    assert [finding.reason for finding in said.findings] == ["GatewayPortInUse"]
    assert said.findings[0].remedy


@on_virtual_time
async def test_deleting_ends_everything_and_the_name_is_free_again() -> None:
    async with running(pace=QUICK) as world:
        first = await world.deploy(replicas=2)
        await world.until_running()
        await operations.delete(world.platform, ADMIN, CHURN)
        assert (await deployments.get(world.platform, ADMIN, CHURN)).state is State.DELETING
        with pytest.raises(Conflict, match="being removed"):
            await world.deploy()
        await until_gone(world)
        await asyncio.sleep(1)
        assert not world.gateway.applied
        second = await world.deploy()
        deployment = await world.until_running()
    assert deployment.revision == 1
    assert second.id != first.id
    one, two = (secrets.service_token(world.platform.master_key, d) for d in (first, second))
    assert one != two


@on_virtual_time
async def test_what_does_not_fit_is_pending_with_a_reason_until_there_is_room() -> None:
    async with running(pace=QUICK) as world:
        big = Key("default", "big")
        await world.deploy(resources=Resources(cpu="3"))
        await world.until_running()
        await world.deploy(key=big, resources=Resources(cpu="2"))
        await asyncio.sleep(3)
        view = await deployments.get(world.platform, ADMIN, big)
        assert view.state is State.PENDING
        assert view.message == "insufficient cpu: needs 2, free 1"
        await operations.delete(world.platform, ADMIN, CHURN)
        await world.until_running(big)


@on_virtual_time
async def test_two_deployments_that_start_at_once_do_not_share_what_only_one_can_have() -> None:
    async with running(pace=QUICK) as world:
        keys = [Key("default", f"d{number}") for number in range(3)]
        await asyncio.gather(*(world.deploy(key=key, resources=Resources(cpu="3")) for key in keys))
        await asyncio.sleep(5)
        live = [key for key in keys if await world.backend.observe(key)]
    assert len(live) == 1


@on_virtual_time
async def test_a_deployment_waits_for_its_runtime_to_be_built() -> None:
    async with running(pace=Pace(start_seconds=0.1, stop_seconds=0.1, build_seconds=20.0)) as world:
        spec = RuntimeSpec(packages=("scikit-learn==1.5.2",))
        await runtimes.apply(world.platform, ADMIN, "default", "old", spec)
        await world.deploy(runtime="old")
        await asyncio.sleep(5)
        view = await deployments.get(world.platform, ADMIN, CHURN)
        assert view.state is State.PENDING
        deployment = await world.until_running()
        assert any("1.5.2" in warning for warning in deployment.status.warnings)
        with pytest.raises(Conflict, match="used by deployment churn"):
            await runtimes.delete(world.platform, ADMIN, "default", "old")
        await operations.delete(world.platform, ADMIN, CHURN)
        await until_gone(world)
        await runtimes.delete(world.platform, ADMIN, "default", "old")
        await asyncio.sleep(1)
        with pytest.raises(NotFound):
            await runtimes.get(world.platform, ADMIN, "default", "old")


@on_virtual_time
async def test_a_runtime_that_cannot_be_built_is_explained_and_can_be_built_again() -> None:
    async with running(pace=QUICK) as world:
        offline = Failure(reason="IndexUnreachable", message="the package index does not answer")
        world.environments.fail = lambda spec: offline
        await runtimes.apply(world.platform, ADMIN, "default", "old", RuntimeSpec(packages=("scikit-learn",)))
        await world.deploy(runtime="old")
        await asyncio.sleep(5)
        said = await deployments.explain(world.platform, ADMIN, CHURN)
        assert [finding.reason for finding in said.findings] == ["IndexUnreachable"]
        assert said.findings[0].message.endswith("built already, and good for it: host")
        world.environments.fail = lambda spec: None
        await runtimes.build(world.platform, ADMIN, "default", "old")
        await world.until_running()


@on_virtual_time
async def test_a_copy_is_offline_and_has_a_token_of_its_own() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=2, env={"A": "1"})
        await world.until_running()
        view = await operations.copy(world.platform, ADMIN, CHURN, "copied")
        one = await deployments.token(world.platform, ADMIN, CHURN)
        two = await deployments.token(world.platform, ADMIN, Key("default", "copied"))
    assert (view.spec.replicas, view.spec.env, view.state) == (0, {"A": "1"}, State.OFFLINE)
    assert one != two


@on_virtual_time
async def test_publishing_to_a_service_makes_it_offline_and_only_once() -> None:
    async with running(pace=QUICK) as world:
        view = await applying.publish_service(world.platform, ADMIN, "default", ModelRef("churn", "2"))
        with pytest.raises(Conflict, match="already exists"):
            await applying.publish_service(world.platform, ADMIN, "default", ModelRef("churn"))
        assert not await world.backend.keys()
    assert (view.name, view.spec.model, view.spec.replicas) == ("churn-2", "churn@2", 0)


@on_virtual_time
async def test_a_rotated_token_replaces_the_old_one_at_the_gateway() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy()
        await world.until_running()
        old = await deployments.token(world.platform, ADMIN, CHURN)
        new = await operations.rotate_token(world.platform, ADMIN, CHURN)
        await asyncio.sleep(0.5)
        [route] = world.gateway.applied
    hashes = {key.sha256 for key in route.keys}
    assert secrets.digest(new) in hashes
    assert secrets.digest(old) not in hashes


@on_virtual_time
async def test_a_dry_run_says_what_would_be_done_and_does_nothing() -> None:
    async with running(pace=QUICK) as world:
        spec = DeploymentSpec(model="churn", replicas=2)
        view = await applying.preview(world.platform, ADMIN, CHURN, spec)
        assert "creates churn with 2 replicas" in view.message
        with pytest.raises(NotFound):
            await deployments.get(world.platform, ADMIN, CHURN)
        await world.deploy(model="churn@1")
        view = await applying.preview(world.platform, ADMIN, CHURN, spec)
        assert "model churn@1 → churn@2, replicas 1 → 2" in view.message
        assert (view.revision, (await world.deployment()).revision) == (2, 1)


@on_virtual_time
async def test_a_stale_generation_is_refused_with_the_current_one() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy()
        spec = DeploymentSpec(model="churn@2")
        for expected in (0, 7):
            with pytest.raises(Conflict) as refused:
                await applying.apply(
                    world.platform, ADMIN, CHURN, spec, applying.Condition(expected=expected)
                )
            assert refused.value.generation == 1


@on_virtual_time
async def test_stages_of_one_name_are_deployments_of_their_own() -> None:
    async with running(pace=QUICK) as world:
        test = Key("default", "churn", Stage.TEST)
        await world.deploy()
        await world.deploy(key=test, model="churn@2")
        await world.until_running()
        await world.until_running(test)
        names = {route.name for route in world.gateway.applied}
    assert names == {"default/churn", "default/churn@test"}


@on_virtual_time
async def test_replicas_without_a_deployment_are_ended() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=2)
        await world.until_running()
        async with world.database.begin() as tx:
            await store.delete(tx, CHURN)

        async def ended() -> bool:
            return not await world.backend.keys()

        await world.until(ended, seconds=90)


@on_virtual_time
async def test_a_deployment_at_rest_is_left_alone() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=2)
        await world.until_running()
        await asyncio.sleep(60)
        publications, status = world.gateway.publications, (await world.deployment()).status
        await asyncio.sleep(1200)
        assert world.gateway.publications == publications
        assert (await world.deployment()).status == status
        assert all(r.phase is Phase.READY for r in await world.ready())


@on_virtual_time
async def test_the_model_of_another_project_cannot_be_deployed() -> None:
    async with running(pace=QUICK) as world:
        await projects.create(world.platform, ADMIN, "other", ProjectSpec())
        await publish(world.database, "secret", 1, project="other")
        with pytest.raises(NotFound, match="secret"):
            await world.deploy(model="secret@1")
