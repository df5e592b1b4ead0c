"""Deployments and runtimes with a status of their own, revisions, and what they keep in use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.deployment import Condition, Deployment, DeploymentStatus, Key, Phase, Replica, Stage
from modelyard.domain.errors import Conflict, Invalid
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from modelyard.store import Database, Page, deployments, projects, revisions, runtimes
from tests.store import samples

KEY = Key("default", "churn")
STATUS = DeploymentStatus(
    observed_generation=1,
    conditions=(Condition(type="Ready", ok=True, reason="AllReady", since=1.5),),
    replicas=(Replica(name="churn-1-0", revision=1, phase=Phase.READY, gpus=(0, 1)),),
    good_revision=1,
)


@pytest.fixture
async def planted(database: Database) -> Database:
    await samples.plant(database)
    async with database.begin() as tx:
        await projects.insert(tx, samples.project("other"))
    return database


async def _keep(database: Database, *kept: Deployment) -> list[Deployment]:
    async with database.begin() as tx:
        return [await deployments.insert(tx, deployment) for deployment in kept]


async def test_an_id_is_given_once_and_never_again(planted: Database) -> None:
    [first, second] = await _keep(planted, samples.deployment("a"), samples.deployment("b"))
    assert 0 < first.id < second.id < 10
    async with planted.begin() as tx:
        await deployments.delete(tx, second.key)
    [third] = await _keep(planted, samples.deployment("b"))
    assert third.id > second.id


async def test_an_update_keeps_id_and_status(planted: Database) -> None:
    [deployment] = await _keep(planted, samples.deployment())
    async with planted.begin() as tx:
        assert await deployments.record(tx, KEY, STATUS)
        # What the caller read before the reconciler wrote: an old status and no id.
        answer = await deployments.update(tx, replace(deployment, id=0, revision=2), expected=1)
        assert answer == replace(deployment, revision=2, generation=2, status=STATUS)
        assert await deployments.get(tx, KEY) == answer


async def test_recording_a_status_changes_nothing_else(planted: Database) -> None:
    [deployment] = await _keep(planted, samples.deployment())
    async with planted.begin() as tx:
        await deployments.update(tx, replace(deployment, deleting=True), expected=1)
        await deployments.record(tx, KEY, STATUS)
        found = await deployments.get(tx, KEY)
    assert found == replace(deployment, deleting=True, generation=2, status=STATUS)


async def test_recording_for_what_is_gone_says_so(planted: Database) -> None:
    async with planted.begin() as tx:
        assert not await deployments.record(tx, KEY, STATUS)
        assert not await runtimes.record(tx, "default", "py311", RuntimeStatus())


async def test_stages_are_deployments_of_their_own(planted: Database) -> None:
    kept = await _keep(planted, *(samples.deployment(stage=stage) for stage in Stage))
    async with planted.read() as tx:
        page = await deployments.list(tx, "default")
        assert [d.key.service for d in page.items] == ["churn", "churn@debug", "churn@test"]
        for deployment in kept:
            assert await deployments.get(tx, deployment.key) == deployment


async def test_all_goes_through_every_project(planted: Database) -> None:
    theirs = samples.deployment("a", project="other")
    kept = await _keep(planted, theirs, samples.deployment("z"), samples.deployment("b"))
    async with planted.begin() as tx:
        await runtimes.insert(tx, samples.runtime("z"))
        await runtimes.insert(tx, samples.runtime("a", "other"))
        assert await deployments.all(tx) == (kept[2], kept[1], kept[0])
        assert [r.name for r in await runtimes.all(tx)] == ["z", "a"]


async def test_a_runtime_keeps_its_status_through_an_update(planted: Database) -> None:
    ready = RuntimeStatus(state=RuntimeState.READY, packages={"numpy": "2.0"}, interpreter="/env/bin/python")
    runtime = samples.runtime()
    async with planted.begin() as tx:
        await runtimes.insert(tx, runtime)
        assert await runtimes.record(tx, "default", "py311", ready)
        answer = await runtimes.update(tx, replace(runtime, deleting=True), expected=1)
        assert answer == replace(runtime, deleting=True, generation=2, status=ready)
        assert await runtimes.get(tx, "default", "py311") == answer


async def test_revisions_are_listed_newest_first_across_ten(planted: Database) -> None:
    await _keep(planted, samples.deployment())
    made = [samples.revision(KEY, n) for n in range(1, 13)]
    async with planted.begin() as tx:
        for revision in made:
            await revisions.insert(tx, revision)
    async with planted.read() as tx:
        first = await revisions.list(tx, KEY, limit=5)
        rest = await revisions.list(tx, KEY, after=first.next)
        assert [*first.items, *rest.items] == made[::-1]
        assert first.next == "8"
        assert await revisions.get(tx, KEY, 7) == made[6]
        assert await revisions.get(tx, KEY, 13) is None
        assert await revisions.list(tx, Key("default", "churn", Stage.TEST)) == Page(())
        with pytest.raises(Invalid, match="after"):
            await revisions.list(tx, KEY, after="new")


async def test_a_revision_number_is_given_once(planted: Database) -> None:
    await _keep(planted, samples.deployment())
    async with planted.begin() as tx:
        await revisions.insert(tx, samples.revision(KEY))
        with pytest.raises(Conflict, match="revision 1 of default/churn"):
            await revisions.insert(tx, samples.revision(KEY, replicas=3))


async def test_a_revision_may_be_written_before_its_deployment(planted: Database) -> None:
    async with planted.begin() as tx:
        await revisions.insert(tx, samples.revision(KEY))
        await deployments.insert(tx, samples.deployment())
    with pytest.raises(Conflict, match="belongs to something that does not exist"):
        async with planted.begin() as tx:
            await revisions.insert(tx, samples.revision(Key("default", "nothing")))
    async with planted.read() as tx:
        assert (await revisions.list(tx, KEY)).items == (samples.revision(KEY),)
        assert await revisions.list(tx, Key("default", "nothing")) == Page(())


async def test_deleting_a_deployment_forgets_its_revisions(planted: Database) -> None:
    await _keep(planted, samples.deployment(), samples.deployment("kept"))
    async with planted.begin() as tx:
        for name in ("churn", "kept"):
            await revisions.insert(tx, samples.revision(Key("default", name)))
        await deployments.delete(tx, KEY)
        assert await revisions.list(tx, KEY) == Page(())
        assert await revisions.delete_all(tx, Key("default", "kept")) == 1


async def _names_using(database: Database, model: str, version: str = "") -> list[str]:
    async with database.read() as tx:
        found = await deployments.using_version(tx, "default", model, version)
    return [deployment.key.service for deployment in found]


async def test_a_version_is_used_by_those_that_want_it(planted: Database) -> None:
    await _keep(
        planted,
        samples.deployment("a", spec=samples.spec("churn@1")),
        samples.deployment("b", spec=samples.spec("churn@12")),
        samples.deployment("c", spec=samples.spec("churn2@1")),
        samples.deployment("d", spec=samples.spec("churn@1"), project="other"),
    )
    assert await _names_using(planted, "churn") == ["a", "b"]
    assert await _names_using(planted, "churn", "1") == ["a"]
    assert await _names_using(planted, "churn", "2") == []


async def test_a_version_is_used_as_long_as_the_good_revision_has_it(planted: Database) -> None:
    [deployment] = await _keep(planted, samples.deployment(spec=samples.spec("churn@1", runtime="old")))
    changed = replace(deployment, spec=samples.spec("churn@2", runtime="new"), revision=2)
    async with planted.begin() as tx:
        await revisions.insert(tx, samples.revision(KEY, 1, model="churn@1", runtime="old"))
        await deployments.record(tx, KEY, replace(STATUS, good_revision=1))
        await deployments.update(tx, changed, expected=1)
        await revisions.insert(tx, samples.revision(KEY, 2, model="churn@2", runtime="new"))
        assert len(await deployments.using_runtime(tx, "default", "old")) == 1
    assert await _names_using(planted, "churn", "1") == await _names_using(planted, "churn", "2") == ["churn"]
    async with planted.begin() as tx:
        await deployments.record(tx, KEY, replace(STATUS, good_revision=2))
        assert await deployments.using_runtime(tx, "default", "old") == ()
        assert len(await deployments.using_runtime(tx, "default", "new")) == 1
        assert await deployments.using_runtime(tx, "other", "new") == ()
    assert await _names_using(planted, "churn", "1") == []
