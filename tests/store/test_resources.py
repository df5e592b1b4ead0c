"""What every resource promises alike: stored whole, found, listed, changed by comparison, deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pytest

from modelyard.domain.errors import Conflict, Invalid, NotFound
from modelyard.store import Database, Page, deployments, models, projects, runtimes, users, versions
from tests.store import samples


@dataclass(frozen=True)
class Resource:
    room: ModuleType
    make: Callable[[int], Any]
    """The n-th in the order of lists, n from 1 to 9."""
    identity: Callable[[Any], tuple[Any, ...]]
    scope: tuple[str, ...]
    change: Callable[[Any], Any]
    insert: dict[str, Any]
    newest_first: bool = False


def _names(make: Callable[[str], Any]) -> Callable[[int], Any]:
    return lambda n: make(f"name-{n}")


RESOURCES = {
    "project": Resource(
        projects,
        _names(samples.project),
        lambda p: (p.name,),
        (),
        lambda p: replace(p, deleting=True),
        {},
    ),
    "user": Resource(
        users,
        _names(samples.user),
        lambda u: (u.name,),
        (),
        lambda u: replace(u, disabled=True),
        {"password_hash": "argon"},
    ),
    "model": Resource(
        models,
        _names(samples.model),
        lambda m: (m.project, m.name),
        ("default",),
        lambda m: replace(m, description="новый"),
        {},
    ),
    "version": Resource(
        versions,
        lambda n: samples.version(n + 5),  # 6 … 14: ten comes after nine
        lambda v: (v.project, v.model, v.version),
        ("default", "churn"),
        lambda v: replace(v, description="新"),
        {},
        newest_first=True,
    ),
    "runtime": Resource(
        runtimes,
        _names(samples.runtime),
        lambda r: (r.project, r.name),
        ("default",),
        lambda r: replace(r, deleting=True),
        {},
    ),
    "deployment": Resource(
        deployments,
        _names(samples.deployment),
        lambda d: (d.key,),
        ("default",),
        lambda d: replace(d, spec=replace(d.spec, replicas=7)),
        {},
    ),
}


@pytest.fixture(params=RESOURCES)
def resource(request: pytest.FixtureRequest) -> Resource:
    return RESOURCES[request.param]


@pytest.fixture
async def planted(database: Database, resource: Resource) -> Database:
    if resource.scope:
        await samples.plant(database)
    return database


async def _stored(database: Database, resource: Resource, n: int) -> Any:
    value = resource.make(n)
    async with database.begin() as tx:
        answer = await resource.room.insert(tx, value, **resource.insert)
    return value if answer is None else answer


async def test_what_was_stored_is_found_unchanged(planted: Database, resource: Resource) -> None:
    value = await _stored(planted, resource, 1)
    async with planted.read() as tx:
        assert await resource.room.get(tx, *resource.identity(value)) == value


async def test_what_was_never_stored_is_not_found(planted: Database, resource: Resource) -> None:
    async with planted.read() as tx:
        assert await resource.room.get(tx, *resource.identity(resource.make(1))) is None


async def test_a_second_of_the_same_name_is_a_conflict_with_a_remedy(
    planted: Database, resource: Resource
) -> None:
    value = await _stored(planted, resource, 1)
    with pytest.raises(Conflict, match="exists already; choose another name"):
        await _stored(planted, resource, 1)
    async with planted.begin() as tx:
        with pytest.raises(Conflict):
            await resource.room.insert(tx, resource.change(value), **resource.insert)
        # The transaction is still good, on both databases.
        assert await resource.room.get(tx, *resource.identity(value)) == value


async def test_pages_hold_everything_once_and_in_order(planted: Database, resource: Resource) -> None:
    stored = [await _stored(planted, resource, n) for n in (3, 1, 9, 2, 5, 4, 8, 7, 6)]
    wanted = sorted(stored, key=lambda v: (len(str(resource.identity(v))), str(resource.identity(v))))
    if resource.newest_first:
        wanted.reverse()
    found, sizes, after = [], [], ""
    own = {resource.identity(value) for value in stored}
    while True:
        async with planted.read() as tx:
            page = await resource.room.list(tx, *resource.scope, limit=4, after=after)
        found += page.items
        sizes.append(len(page.items))
        after = page.next
        if not after:
            break
    assert [value for value in found if resource.identity(value) in own] == wanted
    assert len(found) == len({resource.identity(value) for value in found})
    assert all(size == 4 for size in sizes[:-1])


async def test_a_page_that_ends_the_list_has_no_next(planted: Database, resource: Resource) -> None:
    for n in (1, 2):
        await _stored(planted, resource, n)
    async with planted.read() as tx:
        page = await resource.room.list(tx, *resource.scope)
        exact = await resource.room.list(tx, *resource.scope, limit=len(page.items))
    assert page.next == exact.next == ""
    assert page.items == exact.items


async def test_a_limit_below_one_is_invalid(planted: Database, resource: Resource) -> None:
    async with planted.read() as tx:
        with pytest.raises(Invalid, match="limit must be at least 1"):
            await resource.room.list(tx, *resource.scope, limit=0)


async def test_an_update_with_the_right_generation_is_kept_with_the_next_one(
    planted: Database, resource: Resource
) -> None:
    changed = resource.change(await _stored(planted, resource, 1))
    async with planted.begin() as tx:
        answer = await resource.room.update(tx, changed, expected=1)
    assert answer == replace(changed, generation=2)
    async with planted.read() as tx:
        assert await resource.room.get(tx, *resource.identity(changed)) == answer


async def test_an_update_with_a_stale_generation_changes_nothing(
    planted: Database, resource: Resource
) -> None:
    value = await _stored(planted, resource, 1)
    async with planted.begin() as tx:
        current = await resource.room.update(tx, value, expected=1)
    async with planted.begin() as tx:
        with pytest.raises(Conflict, match="read it again") as caught:
            await resource.room.update(tx, resource.change(value), expected=1)
    assert caught.value.generation == 2
    async with planted.read() as tx:
        assert await resource.room.get(tx, *resource.identity(value)) == current


async def test_updating_what_is_gone_says_so(planted: Database, resource: Resource) -> None:
    async with planted.begin() as tx:
        with pytest.raises(NotFound, match="may have been deleted"):
            await resource.room.update(tx, resource.make(1), expected=1)


async def test_deleting_says_whether_there_was_something(planted: Database, resource: Resource) -> None:
    value = await _stored(planted, resource, 1)
    other = await _stored(planted, resource, 2)
    async with planted.begin() as tx:
        assert await resource.room.delete(tx, *resource.identity(value))
        assert not await resource.room.delete(tx, *resource.identity(value))
        assert await resource.room.get(tx, *resource.identity(value)) is None
        assert await resource.room.get(tx, *resource.identity(other)) == other


async def test_nothing_of_a_failed_transaction_is_kept(planted: Database, resource: Resource) -> None:
    value = resource.make(1)

    async def fail() -> None:
        async with planted.begin() as tx:
            await resource.room.insert(tx, value, **resource.insert)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with planted.read() as tx:
        assert await resource.room.get(tx, *resource.identity(value)) is None


async def test_a_document_that_could_not_be_read_back_is_refused(
    planted: Database, resource: Resource
) -> None:
    value = replace(resource.make(1), generation="many")
    async with planted.begin() as tx:
        with pytest.raises(Invalid, match="generation"):
            await resource.room.insert(tx, value, **resource.insert)


@pytest.mark.parametrize("name", [name for name, known in RESOURCES.items() if known.scope])
async def test_what_belongs_to_a_missing_parent_is_refused(database: Database, name: str) -> None:
    with pytest.raises(Conflict, match="belongs to something that does not exist"):
        await _stored(database, RESOURCES[name], 1)


@pytest.mark.parametrize("name", [name for name, known in RESOURCES.items() if known.scope])
async def test_a_list_holds_nothing_of_another_project(database: Database, name: str) -> None:
    await samples.plant(database)
    await _stored(database, RESOURCES[name], 1)
    async with database.read() as tx:
        page = await RESOURCES[name].room.list(tx, "elsewhere", *RESOURCES[name].scope[1:])
    assert page == Page(())
