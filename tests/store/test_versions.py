"""Versions: found by label and run, newest first, and the files they keep in use."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from modelyard.domain.errors import Conflict, Invalid
from modelyard.domain.footprint import Footprint
from modelyard.domain.model import ModelVersion
from modelyard.store import Database, models, projects, versions
from tests.store import samples


@pytest.fixture
async def planted(database: Database) -> Database:
    await samples.plant(database)
    return database


async def _keep(database: Database, *kept: ModelVersion) -> None:
    async with database.begin() as tx:
        for version in kept:
            await versions.insert(tx, version)


async def test_a_version_is_found_by_its_label_within_its_model(planted: Database) -> None:
    labelled = samples.version(1, label="v2026.1")
    await _keep(planted, labelled, samples.version(2), samples.version(3))
    async with planted.read() as tx:
        assert await versions.find_label(tx, "default", "churn", "v2026.1") == labelled
        assert await versions.find_label(tx, "default", "churn", "") is None
        assert await versions.find_label(tx, "default", "other", "v2026.1") is None


async def test_a_label_belongs_to_one_version(planted: Database) -> None:
    await _keep(planted, samples.version(1, label="same"), samples.version(2))
    with pytest.raises(Conflict, match="label 'same'"):
        await _keep(planted, samples.version(3, label="same"))
    with pytest.raises(Conflict, match="exists already"):
        async with planted.begin() as tx:
            await versions.update(tx, samples.version(2, label="same"), expected=1)


async def test_the_newest_version_of_a_run_is_found(planted: Database) -> None:
    run = "run/" + "x" * 10_000
    await _keep(planted, *(samples.version(n, source_run=run) for n in (9, 10, 2)), samples.version(11))
    async with planted.read() as tx:
        found = await versions.find_run(tx, "default", "churn", run)
        assert found is not None
        assert found.version == "10"
        assert await versions.find_run(tx, "default", "churn", "") is None


@pytest.mark.parametrize("number", ["", "x", "1.5", "-1", "١", "0x1"])
async def test_a_version_must_be_a_number(planted: Database, number: str) -> None:
    with pytest.raises(Invalid, match="must be a number"):
        await _keep(planted, replace(samples.version(), version=number))


@pytest.mark.parametrize("after", ["x", "-1", "9" * 30, "１"])
async def test_a_cursor_that_this_list_never_gave_is_invalid(planted: Database, after: str) -> None:
    async with planted.read() as tx:
        with pytest.raises(Invalid, match="after"):
            await versions.list(tx, "default", "churn", after=after)


async def test_files_are_in_use_as_long_as_some_version_needs_them(planted: Database) -> None:
    await _keep(planted, samples.version(1, files=("aa", "bb", "aa")), samples.version(2, files=("bb", "cc")))
    async with planted.begin() as tx:
        assert await versions.all_files(tx) == {"aa", "bb", "cc"}
        await versions.update(tx, samples.version(1, files=("dd",)), expected=1)
        assert await versions.all_files(tx) == {"bb", "cc", "dd"}
        await versions.delete(tx, "default", "churn", "2")
        assert await versions.all_files(tx) == {"dd"}


async def test_what_is_seen_of_a_version_is_kept_with_its_files_and_does_not_count_as_a_change(
    planted: Database,
) -> None:
    before = samples.version(1, files=("aa",))
    await _keep(planted, before)
    memory = Footprint(loaded_bytes=300 << 20, peak_bytes=320 << 20, variant="original")
    seen = replace(samples.version(1, files=("aa", "bb")), memory=memory)
    async with planted.begin() as tx:
        await versions.record(tx, seen)
        assert await versions.all_files(tx) == {"aa", "bb"}
    async with planted.begin() as tx:  # what was read before may be changed all the same
        after = await versions.update(tx, replace(seen, description="ours"), expected=before.generation)
    assert (after.memory, after.generation) == (memory, before.generation + 1)
    async with planted.begin() as tx:
        await versions.record(tx, samples.version(2))
        assert await versions.get(tx, "default", "churn", "2") is None


async def test_a_version_without_files_is_kept(planted: Database) -> None:
    await _keep(planted, samples.version(1, files=()))
    async with planted.read() as tx:
        assert await versions.all_files(tx) == frozenset()
        assert await versions.get(tx, "default", "churn", "1") == samples.version(1, files=())


async def test_any_unicode_and_any_size_comes_back_as_it_was(planted: Database) -> None:
    text = "".join(chr(n) for n in range(0x3000)) + "🜚 \U0010ffff" + "é" * 3_000_000
    version = samples.version(1, description=text, metrics={text[:5000]: [text[:9], 2**53, -0.1, None]})
    await _keep(planted, version)
    async with planted.read() as tx:
        assert await versions.get(tx, "default", "churn", "1") == version


async def test_numbers_that_json_lacks_come_back(planted: Database) -> None:
    await _keep(planted, samples.version(1, metrics={"loss": math.nan, "low": -math.inf}))
    async with planted.read() as tx:
        found = await versions.get(tx, "default", "churn", "1")
    assert found is not None
    assert isinstance(found.metrics, dict)
    assert math.isnan(found.metrics["loss"])
    assert found.metrics["low"] == -math.inf


async def test_text_that_is_not_unicode_is_refused(planted: Database) -> None:
    with pytest.raises(Invalid, match="ModelVersion cannot be stored"):
        await _keep(planted, samples.version(1, description="half a pair: \ud800"))
    async with planted.read() as tx:
        with pytest.raises(Invalid, match="use valid Unicode"):
            await versions.find_label(tx, "default", "churn", "\ud800")


async def test_a_model_with_versions_and_a_project_with_models_cannot_go(planted: Database) -> None:
    await _keep(planted, samples.version(1))
    for delete, identity in ((models.delete, ("default", "churn")), (projects.delete, ("default",))):
        with pytest.raises(Conflict, match="still belongs to it"):
            async with planted.begin() as tx:
                await delete(tx, *identity)
