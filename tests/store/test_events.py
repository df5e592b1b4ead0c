"""Events: numbered, filtered, and out of anybody's reach once written."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa

from modelyard.domain.errors import Invalid, ModelyardError
from modelyard.domain.event import Event
from modelyard.store import Database, events
from modelyard.store.tables import events as table
from tests.store import samples


async def _append(database: Database, *given: Event) -> list[Event]:
    async with database.begin() as tx:
        return [await events.append(tx, event) for event in given]


async def test_an_event_comes_back_with_an_id_that_grows(database: Database) -> None:
    appended = await _append(database, samples.event("a", message="ø\0\n"), samples.event("b"))
    assert [event.name for event in appended] == ["a", "b"]
    assert 0 < appended[0].id < appended[1].id
    async with database.read() as tx:
        assert await events.list(tx) == tuple(appended[::-1])
        assert await events.list(tx, newest_first=False) == tuple(appended)


async def test_events_are_found_by_what_they_are_about(database: Database) -> None:
    [a, b, c, d] = await _append(
        database,
        samples.event("x"),
        samples.event("x", kind="model"),
        samples.event("y"),
        samples.event("x", project="other"),
    )
    async with database.read() as tx:
        assert await events.list(tx, project="default") == (c, b, a)
        assert await events.list(tx, kind="deployment", name="x") == (d, a)
        assert await events.list(tx, project="other", kind="model") == ()


async def test_after_goes_on_in_the_order_asked_for(database: Database) -> None:
    appended = await _append(database, *(samples.event(str(n)) for n in range(5)))
    ids = [event.id for event in appended]
    async with database.read() as tx:
        older = await events.list(tx, after=ids[3], limit=2)
        newer = await events.list(tx, after=ids[1], limit=2, newest_first=False)
        assert await events.list(tx, after=ids[4], newest_first=False) == ()
    assert [event.id for event in older] == [ids[2], ids[1]]
    assert [event.id for event in newer] == [ids[2], ids[3]]


@pytest.mark.parametrize(
    "change",
    [
        sa.update(table).values(document="{}"),
        sa.delete(table),
        sa.delete(table).where(table.c.id == 1),
    ],
    ids=["update", "delete", "delete one"],
)
async def test_nobody_changes_or_deletes_an_event(database: Database, change: sa.Executable) -> None:
    [appended] = await _append(database, samples.event())
    with pytest.raises(ModelyardError):
        async with database.begin() as tx:
            await tx.change(change)
    async with database.read() as tx:
        assert await events.list(tx) == (appended,)


async def test_postgresql_refuses_to_truncate_events(postgres_url: str) -> None:
    database = await Database.open(postgres_url)
    [appended] = await _append(database, samples.event())
    with pytest.raises(ModelyardError):
        async with database.begin() as tx:
            await tx.change(sa.text("TRUNCATE events"))
    async with database.read() as tx:
        assert await events.list(tx) == (appended,)
    await database.close()


async def test_a_name_that_nothing_could_have_is_still_recorded(database: Database) -> None:
    odd = samples.event("../\0" + "й" * 50_000, reason="Denied")
    [appended] = await _append(database, odd)
    assert appended == replace(odd, id=appended.id)
    async with database.read() as tx:
        assert await events.list(tx, name=odd.name) == (appended,)


async def test_a_number_too_large_to_be_an_id_is_invalid(database: Database) -> None:
    async with database.read() as tx:
        with pytest.raises(Invalid, match="cannot be stored"):
            await events.list(tx, after=10**30)


async def test_a_follower_misses_nothing_while_many_write(url: str) -> None:
    writers = [await Database.open(url) for _ in range(3)]
    reader = await Database.open(url)

    async def write(writer: Database, name: str) -> None:
        for n in range(15):
            async with writer.begin() as tx:
                await events.append(tx, samples.event(f"{name}{n}"))
                await asyncio.sleep(0)
                await events.append(tx, samples.event(f"{name}{n}+"))

    async def follow() -> list[Event]:
        seen: list[Event] = []
        while len(seen) < 90:
            async with reader.read() as tx:
                seen += await events.list(tx, after=seen[-1].id if seen else 0, newest_first=False)
        return seen

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        for n, writer in enumerate(writers):
            group.create_task(write(writer, "abc"[n]))
    assert len({event.name for event in following.result()}) == 90
    for opened in (*writers, reader):
        await opened.close()
