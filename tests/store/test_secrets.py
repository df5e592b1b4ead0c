"""Secrets beside what may be told of them, in both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.errors import Conflict, NotFound
from modelyard.domain.secret import Secret
from modelyard.store import Database, projects, secrets
from tests.store import samples

SEALED = bytes(range(256))


@pytest.fixture
async def planted(database: Database) -> Database:
    """With two projects."""
    async with database.begin() as tx:
        for name in ("default", "other"):
            await projects.insert(tx, samples.project(name))
    return database


def secret(name: str = "db", project: str = "default") -> Secret:
    return Secret(
        project=project, name=name, keys=("A", "b.crt"), binary=("b.crt",), created_at=samples.AT,
        created_by="ada", changed_at=samples.AT, changed_by="bob",
    )  # fmt: skip


async def test_a_secret_comes_back_as_it_was_with_its_bytes(planted: Database) -> None:
    async with planted.begin() as tx:
        await secrets.insert(tx, secret(), SEALED)
        await secrets.insert(tx, secret("a"), b"x")
        await secrets.insert(tx, secret("db", "other"), b"y")
    async with planted.read() as tx:
        assert await secrets.get(tx, "default", "db") == (secret(), SEALED)
        assert await secrets.get(tx, "default", "none") is None
        assert [each.name for each in (await secrets.list(tx, "default")).items] == ["a", "db"]
        assert await secrets.known(tx, "default", {"db", "none"}) == {"db": secret()}
        assert await secrets.known(tx, "default", ()) == {}


async def test_who_is_slower_changes_nothing(planted: Database) -> None:
    async with planted.begin() as tx:
        await secrets.insert(tx, secret(), b"1")
        with pytest.raises(Conflict):
            await secrets.insert(tx, secret(), b"2")
        after = await secrets.update(tx, replace(secret(), keys=("C",)), b"3", expected=1)
        assert (after.generation, after.keys) == (2, ("C",))
        with pytest.raises(Conflict):
            await secrets.update(tx, secret(), b"4", expected=1)
        assert await secrets.get(tx, "default", "db") == (after, b"3")
        assert await secrets.delete(tx, "default", "db")
        assert not await secrets.delete(tx, "default", "db")
        with pytest.raises(NotFound):
            await secrets.update(tx, secret(), b"5", expected=2)


async def test_a_secret_belongs_to_a_project_that_is_there(planted: Database) -> None:
    with pytest.raises(Conflict):
        async with planted.begin() as tx:
            await secrets.insert(tx, secret(project="nowhere"), b"1")
    async with planted.begin() as tx:
        await secrets.insert(tx, secret(), b"1")
    with pytest.raises(Conflict):
        async with planted.begin() as tx:
            await projects.delete(tx, "default")
