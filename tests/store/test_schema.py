"""Opening: empty, current, outdated and newer databases, one or two control planes at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from modelyard.domain.errors import Invalid, ModelyardError, Unavailable
from modelyard.store import Database, meta, schema
from modelyard.store.tables import metadata
from tests.support import postgres

OPEN = """
import asyncio, sys
from modelyard.store import Database
async def main():
    database = await Database.open(sys.argv[1])
    await database.close()
    print("alembic" in sys.modules)
print("loaded", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a single table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    server: postgres.Postgres = request.getfixturevalue("server")
    engine = create_async_engine(
        server.url.replace("postgresql:", "postgresql+asyncpg:"), isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        await connection.execute(sa.text("DROP DATABASE IF EXISTS nothing"))
        await connection.execute(sa.text("CREATE DATABASE nothing"))
    await engine.dispose()
    return server.url.replace("/postgres?", "/nothing?")


async def _alter(database: Database, statement: str) -> None:
    async with database.begin() as tx:
        await tx.change(sa.text(statement))


async def test_an_empty_database_gets_exactly_the_tables_we_use(empty_url: str) -> None:
    database = await Database.open(empty_url)
    found: list[object] = []

    def compare(connection: sa.Connection) -> None:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found.extend(compare_metadata(context, metadata))

    async with database.begin() as tx:
        await tx.alter(compare)
    assert found == []
    await database.close()


async def test_opening_again_changes_nothing(empty_url: str) -> None:
    first = await Database.open(empty_url)
    async with first.begin() as tx:
        await meta.set(tx, "fact", "kept")
    await first.close()
    for migrate in (True, False):
        again = await Database.open(empty_url, migrate=migrate)
        async with again.read() as tx:
            assert await meta.get(tx, "fact") == "kept"
        await again.close()


async def test_many_may_open_an_empty_database_at_once(empty_url: str) -> None:
    opened = await asyncio.gather(*(Database.open(empty_url) for _ in range(6)))
    async with opened[0].begin() as tx:
        await meta.set(tx, "fact", "one")
    async with opened[5].read() as tx:
        assert await meta.get(tx, "fact") == "one"
    for database in opened:
        await database.close()


def test_processes_may_open_an_empty_database_at_once(empty_url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "loaded\n"
    for process in started:  # all have imported everything: now they race
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    assert any("True" in out for out, _ in ended)


async def test_a_current_database_opens_without_loading_the_migrations(url: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", OPEN, url],
        input="\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "loaded\nFalse\n"


async def test_without_migration_an_empty_database_is_refused(empty_url: str) -> None:
    with pytest.raises(Invalid, match=r"tables are at nothing .* start the server once"):
        await Database.open(empty_url, migrate=False)


@pytest.mark.parametrize("migrate", [True, False])
async def test_a_database_of_a_newer_version_is_refused_and_untouched(
    empty_url: str, *, migrate: bool
) -> None:
    database = await Database.open(empty_url)
    await _alter(database, "UPDATE alembic_version SET version_num = '9999'")
    await database.close()
    with pytest.raises(Invalid, match=r"a newer Modelyard wrote this database \(tables 9999"):
        await Database.open(empty_url, migrate=migrate)


async def test_a_migration_that_fails_leaves_an_empty_database(empty_url: str) -> None:
    blocked = await Database.open(empty_url)
    await _alter(blocked, "DELETE FROM alembic_version")
    await _alter(blocked, "DROP TABLE meta")
    await blocked.close()
    with pytest.raises(ModelyardError, match="an error it should not give"):  # its tables are in the way
        await Database.open(empty_url)
    with pytest.raises(Invalid, match="tables are at nothing"):
        await Database.open(empty_url, migrate=False)


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


async def test_a_new_sqlite_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path}/a.db")
    async with database.begin() as tx:
        await meta.set(tx, "a", "b")
        modes = {stat.S_IMODE(os.stat(path).st_mode) for path in tmp_path.glob("a.db*")}
    assert modes == {0o600}
    await database.close()


async def test_an_sqlite_path_may_hold_any_character(tmp_path: Path) -> None:
    directory = tmp_path / "100% möglich"
    directory.mkdir()
    database = await Database.open(f"sqlite:///{directory}/a.db")
    async with database.begin() as tx:
        await meta.set(tx, "a", "b")
    await database.close()
    assert (directory / "a.db").stat().st_size > 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://root@localhost/x", "'mysql' is not a database"),
        ("not an address", "it is not an address"),
        ("", "it is not an address"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////nowhere/at/all/a.db", "its directory does not exist"),
    ],
)
async def test_an_address_that_cannot_work_is_refused_with_one_that_can(url: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        await Database.open(url)
    assert "postgresql://user:password@host" in caught.value.message
    assert caught.value.errors[0].path == "store.url"


async def test_a_new_sqlite_file_that_another_process_writes_to_is_waited_for(tmp_path: Path) -> None:
    """SQLite refuses to switch its journal at once, without waiting, while somebody writes."""
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("create table t (x)")
    other.execute("begin immediate")
    threading.Timer(0.3, other.execute, ("commit",)).start()
    database = await Database.open(f"sqlite:///{path}")
    await database.close()
    other.close()


async def test_a_sqlite_file_that_is_never_let_go_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("create table t (x)")
        other.execute("begin immediate")
        with pytest.raises(Unavailable, match="locked"):
            await Database.open(f"sqlite:///{path}", patience_seconds=0.2)
