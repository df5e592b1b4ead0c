"""Validation: at once or once a runtime is built, beside whatever else becomes of the version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.base import Answer, Task
from modelyard.backends.memory import ManualClock
from modelyard.control import kinds, versions
from modelyard.control import validation as validating
from modelyard.control.reconcilers import runtimes, validation
from modelyard.domain.deployment import Failure
from modelyard.domain.errors import Conflict, Refused
from modelyard.domain.footprint import Footprint
from modelyard.domain.model import Requirements, Validation
from modelyard.domain.naming import ModelRef
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from modelyard.store import runtimes as runtime_store
from modelyard.store import versions as version_store
from modelyard.store import work
from tests.control.published import CODE, FOUND, empty, publish
from tests.control.world import ADMIN, World


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> World:
    return await empty(tmp_path, clock)


async def test_a_version_whose_runtime_is_not_built_is_validated_later(
    world: World, clock: ManualClock
) -> None:
    needs = Requirements(python="3.11", packages=("catboost==1.2.8",))
    version = (await publish(world, requirements=needs)).version
    assert version.validation is Validation.DEFERRED
    async with world.database.read() as tx:
        [runtime] = (await runtime_store.list(tx, "default")).items
    assert runtime.automatic
    key = f"default/{runtime.name}"
    await runtimes.reconcile(world.platform, key)
    assert await validation.reconcile(world.platform, "default/churn@1") is not None
    clock.advance(10)
    await runtimes.reconcile(world.platform, key)
    assert await validation.reconcile(world.platform, "default/churn@1") is None
    found = await versions.get(world.platform, ADMIN, "default", "churn")
    assert found.validation is Validation.PASSED
    assert not any("not validated" in warning for warning in found.warnings)


async def test_a_later_validation_that_fails_is_said_on_the_version(world: World, clock: ManualClock) -> None:
    await publish(world, requirements=Requirements(python="3.11", packages=("catboost==1.2.8",)))
    async with world.database.read() as tx:
        [runtime] = (await runtime_store.list(tx, "default")).items
    await runtimes.reconcile(world.platform, f"default/{runtime.name}")
    clock.advance(10)
    await runtimes.reconcile(world.platform, f"default/{runtime.name}")
    failure = Failure(reason="VersionMismatch", message="made with 1.3.2")
    world.backend.answer = lambda task: Answer(result=None, failure=failure)
    assert await validation.reconcile(world.platform, "default/churn@1") is None
    found = await versions.get(world.platform, ADMIN, "default", "churn")
    assert any(warning.startswith("validation failed: VersionMismatch") for warning in found.warnings)


async def test_a_version_is_validated_beside_what_else_becomes_of_it(world: World) -> None:
    before = (await publish(world)).version

    async def meanwhile(task: Task) -> Answer:
        change = versions.VersionChange(description="edited", label="v1")
        await versions.update(world.platform, ADMIN, "default", "churn", "1", change)
        async with world.database.begin() as tx:
            now = await version_store.get(tx, "default", "churn", "1")
            assert now is not None
            await validating.seen(tx, now, replace(now, warnings=("checked by another",)))
            await version_store.record(tx, replace(now, memory=Footprint(loaded_bytes=1)))
        return Answer(result=FOUND)

    world.platform.backend.run = meanwhile  # type: ignore[method-assign]
    after = await validating.validate(world.platform, ADMIN, "default", ModelRef("churn"))
    assert (after.description, after.label, after.memory.loaded_bytes) == ("edited", "v1", 1)
    assert (after.validation, after.generation) == (Validation.PASSED, before.generation + 1)

    async def replaced(task: Task) -> Answer:
        async with world.database.begin() as tx:
            now = await version_store.get(tx, "default", "churn", "1")
            assert now is not None
            (artifact,) = now.artifacts
            other = replace(artifact, files=(replace(artifact.files[0], sha256="f" * 64),))
            await version_store.update(tx, replace(now, artifacts=(other,)), expected=now.generation)
        return Answer(result=FOUND)

    world.platform.backend.run = replaced  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="published anew while it was checked"):
        await validating.validate(world.platform, ADMIN, "default", ModelRef("churn"))


async def test_a_version_that_cannot_be_loaded_any_more_is_loaded_once_its_runtime_is_back(
    world: World, clock: ManualClock
) -> None:
    needs = Requirements(python="3.11", packages=("catboost==1.2.8",))
    await publish(world, requirements=needs)
    async with world.database.read() as tx:
        [runtime] = (await runtime_store.list(tx, "default")).items
    key = f"default/{runtime.name}"

    async def built() -> None:
        await runtimes.reconcile(world.platform, key)
        clock.advance(10)
        await runtimes.reconcile(world.platform, key)

    await built()
    assert await validation.reconcile(world.platform, "default/churn@1") is None
    async with world.database.begin() as tx:
        await runtime_store.delete(tx, "default", runtime.name)
        await work.claim(tx, kinds.VALIDATION, limit=9, now=clock(), lease_seconds=1, token="x")
        await work.finish(tx, kinds.VALIDATION, "default/churn@1", token="x", due_at=None)
    again = await validating.validate(world.platform, ADMIN, "default", ModelRef("churn"))
    assert again.validation is Validation.DEFERRED
    async with world.database.begin() as tx:
        due = await work.claim(tx, kinds.VALIDATION, limit=9, now=clock(), lease_seconds=1, token="y")
    assert list(due) == ["default/churn@1"]
    await built()
    assert await validation.reconcile(world.platform, "default/churn@1") is None
    assert (await versions.get(world.platform, ADMIN, "default", "churn")).validation is Validation.PASSED


async def test_a_version_whose_runtime_cannot_be_built_says_so_and_is_not_asked_all_the_time(
    world: World,
) -> None:
    await publish(world, requirements=Requirements(python="3.11", packages=("catboost==1.2.8",)))
    async with world.database.begin() as tx:
        [runtime] = (await runtime_store.list(tx, "default")).items
        broken = RuntimeStatus(state=RuntimeState.FAILED, reason="IndexUnreachable", message="no answer")
        await runtime_store.record(tx, "default", runtime.name, broken)
    again = await validation.reconcile(world.platform, "default/churn@1")
    assert again is not None
    assert again.after >= 10
    found = await versions.get(world.platform, ADMIN, "default", "churn")
    (said,) = [each for each in found.warnings if each.startswith("not validated yet")]
    assert f"runtime {runtime.name} cannot be built (IndexUnreachable)" in said
    assert found.validation is Validation.DEFERRED


async def test_validating_again_notices_a_file_that_was_changed(world: World, tmp_path: Path) -> None:
    version = (await publish(world)).version
    await validating.validate(world.platform, ADMIN, "default", ModelRef("churn"))
    sha256 = version.artifacts[0].files[0].sha256
    for path in (tmp_path / "artifacts").rglob("*"):
        if path.is_file() and path.read_bytes() == CODE:
            path.chmod(0o600)
            path.write_bytes(CODE[:-1] + b"#")
    with pytest.raises(Refused, match=sha256[:12]):
        await validating.validate(world.platform, ADMIN, "default", ModelRef("churn"))
