"""Killed and cut off: what was acknowledged is there, what was not is not, and work goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelyard.domain.errors import Unavailable
from modelyard.store import Database, events, meta, work
from tests.store import samples
from tests.support.postgres import Postgres

ROOT = Path(__file__).parents[2]


@contextmanager
def _child(url: str, commits: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.store.crash_child", url, str(commits)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def _found(url: str) -> tuple[list[str], str | None]:
    database = await Database.open(url)
    async with database.begin() as tx:  # a dead writer's lock is gone, too
        await meta.set(tx, "after", "crash")
    async with database.read() as tx:
        names = [event.name for event in await events.list(tx, newest_first=False, limit=100_000)]
        count = await meta.get(tx, "count")
    await database.close()
    return names, count


async def test_a_kill_inside_a_transaction_loses_what_was_not_committed_and_nothing_else(url: str) -> None:
    with _child(url, 5) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(6)] == ["1", "2", "3", "4", "5", "inside"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert await _found(url) == (["e1", "e2", "e3", "e4", "e5"], "5")


@pytest.mark.parametrize("acknowledged", [1, 40])
async def test_a_kill_at_any_moment_loses_nothing_acknowledged(url: str, acknowledged: int) -> None:
    with _child(url, 0) as process:
        assert process.stdout is not None
        for _ in range(acknowledged):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        heard = acknowledged + len(process.stdout.read().split())
        process.wait()
    names, count = await _found(url)
    # One more commit may have been kept whose acknowledgement died with the process; never half of one.
    assert len(names) in (heard, heard + 1)
    assert names == [f"e{n}" for n in range(1, len(names) + 1)]
    assert count == str(len(names))


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """PostgreSQL only: SQLite has no server to lose."""
    opened = await Database.open(postgres_url)
    yield opened
    await opened.close()


async def _event(database: Database, name: str, *, meanwhile: Callable[[], None] | None = None) -> None:
    async with database.begin() as tx:
        await events.append(tx, samples.event(name))
        if meanwhile is not None:
            meanwhile()
        await work.put(tx, "deployment", name, due_at=1.0)


async def _names(database: Database) -> list[str]:
    async with database.read() as tx:
        return [event.name for event in await events.list(tx, newest_first=False)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
async def test_a_server_restarted_inside_a_transaction_is_used_again_at_once(
    server: Postgres, database: Database, how: signal.Signals
) -> None:
    await _event(database, "before")
    with pytest.raises(Unavailable, match="away or restarting"):
        await _event(database, "cut", meanwhile=lambda: server.restart(how=how))
    await _event(database, "after")
    assert await _names(database) == ["before", "after"]


async def test_connections_that_died_unused_are_replaced_unnoticed(
    server: Postgres, database: Database
) -> None:
    await _event(database, "before")
    server.restart()
    assert await _names(database) == ["before"]
    server.restart()
    await _event(database, "after")
    assert await _names(database) == ["before", "after"]


async def test_the_callers_own_error_is_not_hidden_by_a_lost_connection(
    server: Postgres, database: Database
) -> None:
    def fail() -> None:
        server.restart()
        raise KeyError("the caller's own")

    with pytest.raises(KeyError, match="the caller's own"):
        await _event(database, "cut", meanwhile=fail)
    await _event(database, "after")
    assert await _names(database) == ["after"]


async def test_a_server_that_is_down_is_unavailable_until_it_is_back(
    server: Postgres, database: Database
) -> None:
    server.stop()
    try:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await _event(database, "lost")
        with pytest.raises(Unavailable, match="cannot be reached"):
            await _names(database)
        with pytest.raises(Unavailable, match="cannot be reached"):
            await Database.open(server.url)
    finally:
        server.start()
    await _event(database, "kept")
    assert await _names(database) == ["kept"]
