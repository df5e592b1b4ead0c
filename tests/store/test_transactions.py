"""Transactions: whole or not at all, one writer at a time, and never left behind."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from modelyard.domain.errors import Conflict, Unavailable
from modelyard.store import Database, Transaction, meta, revisions
from tests.store import samples


async def _write(database: Database, value: str = "x") -> None:
    async with database.begin() as tx:
        await meta.set(tx, "fact", value)


async def _fact(database: Database) -> str | None:
    async with database.read() as tx:
        return await meta.get(tx, "fact")


async def test_what_is_not_committed_yet_is_seen_by_nobody_else(url: str) -> None:
    one, two = await Database.open(url), await Database.open(url)
    async with one.begin() as tx:
        await meta.set(tx, "fact", "mine")
        assert await meta.get(tx, "fact") == "mine"
        assert await _fact(two) is None
    assert await _fact(two) == "mine"
    await one.close()
    await two.close()


async def test_a_snapshot_does_not_change_while_it_is_read(database: Database) -> None:
    await _write(database, "before")
    async with database.read() as tx:
        assert await meta.get(tx, "fact") == "before"
        await _write(database, "after")
        assert await meta.get(tx, "fact") == "before"
    assert await _fact(database) == "after"


async def test_what_one_writer_checked_stays_true_until_it_commits(url: str) -> None:
    databases = [await Database.open(url) for _ in range(3)]

    async def count_up(database: Database) -> None:
        for _ in range(10):
            async with database.begin() as tx:
                seen = int(await meta.get(tx, "fact") or "0")
                await asyncio.sleep(0)
                await meta.set(tx, "fact", str(seen + 1))

    await asyncio.gather(*(count_up(database) for database in databases * 2))
    assert await _fact(databases[0]) == "60"
    for database in databases:
        await database.close()


async def test_a_failed_commit_leaves_no_lock_behind(url: str) -> None:
    one, two = await Database.open(url), await Database.open(url, patience_seconds=0.2)
    for _ in range(3):
        with pytest.raises(Conflict, match="does not exist"):
            async with one.begin() as tx:
                await revisions.insert(tx, samples.revision(samples.deployment().key))
        await _write(two, "still possible")
        await _write(one, "here too")
    await one.close()
    await two.close()


async def test_a_cancelled_writer_leaves_nothing_and_holds_nothing(url: str) -> None:
    one, two = await Database.open(url), await Database.open(url, patience_seconds=0.2)
    inside = asyncio.Event()

    async def hang(tx: Transaction) -> None:
        await meta.set(tx, "fact", "never")
        inside.set()
        await asyncio.Event().wait()

    async def write() -> None:
        async with one.begin() as tx:
            await hang(tx)

    task = asyncio.create_task(write())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _fact(two) is None
    await _write(two)
    await _write(one)
    await one.close()
    await two.close()


async def test_a_writer_cancelled_while_it_waits_takes_no_lock_later(url: str) -> None:
    holder, waiter = await Database.open(url), await Database.open(url)
    async with holder.begin() as tx:
        await meta.set(tx, "fact", "held")
        waiting = asyncio.create_task(_write(waiter, "too late"))
        await asyncio.sleep(0.1)  # long enough to be waiting inside the database
        waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    await _write(holder, "next")
    await _write(waiter, "last")
    assert await _fact(holder) == "last"
    await holder.close()
    await waiter.close()


async def test_a_writer_who_keeps_the_lock_makes_others_unavailable(url: str) -> None:
    holder, other = await Database.open(url), await Database.open(url, patience_seconds=0.1)
    async with holder.begin() as tx:
        await meta.set(tx, "fact", "held")
        with pytest.raises(Unavailable, match="locked by another writer") as caught:
            await _write(other)
        assert await _fact(other) is None
    assert caught.value.retry_after_seconds == 1.0
    await _write(other, "mine")
    assert await _fact(holder) == "mine"
    await holder.close()
    await other.close()


async def test_a_transaction_inside_another_is_a_mistake_and_not_a_deadlock(database: Database) -> None:
    async with database.begin() as tx:
        with pytest.raises(RuntimeError, match="pass `tx` on"):
            await _write(database)
        await meta.set(tx, "fact", "kept")
    assert await _fact(database) == "kept"
    await _write(database)


async def test_many_writers_of_one_process_take_turns_without_failing(url: str) -> None:
    database = await Database.open(url, patience_seconds=0.5)
    await asyncio.gather(*(_write(database, str(n)) for n in range(100)))
    assert await _fact(database) in {str(n) for n in range(100)}
    await database.close()


async def test_commits_to_sqlite_are_durable_and_its_references_are_kept(sqlite_url: str) -> None:
    database = await Database.open(sqlite_url)
    found = {}
    async with database.begin() as tx:
        for name in ("journal_mode", "synchronous", "foreign_keys"):
            cursor = await tx._connection.exec_driver_sql(f"PRAGMA {name}")
            found[name] = cursor.scalar()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    await database.close()


async def test_a_closed_sqlite_file_needs_no_other_file(sqlite_url: str) -> None:
    database = await Database.open(sqlite_url)
    await _write(database, "kept")
    await database.close()
    path = sqlite_url.removeprefix("sqlite:///")
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    assert connection.execute("SELECT value FROM meta").fetchall() == [("kept",)]
    connection.close()
