"""What drivers raise arrives as our errors, with a remedy and without a secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from modelyard.domain.errors import Invalid, ModelyardError, TooLarge, Unavailable
from modelyard.store import Database, events, meta, projects
from tests.store import samples
from tests.support.postgres import Postgres


async def _pragma(database: Database, pragma: str) -> None:
    """Set something on the one connection that this test's transactions use."""
    async with database.begin() as tx:
        await tx._connection.exec_driver_sql(f"PRAGMA {pragma}")


async def _write(database: Database, value: str) -> None:
    async with database.begin() as tx:
        await meta.set(tx, "fact", value)


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(sqlite_url)
    yield opened
    await opened.close()


async def test_a_full_disk_is_named_and_work_goes_on_when_there_is_space(sqlite: Database) -> None:
    await _write(sqlite, "kept")
    await _pragma(sqlite, "max_page_count=1")  # no smaller than it is: it cannot grow any more
    with pytest.raises(Unavailable, match="disk is full; free some space") as caught:
        await _write(sqlite, "x" * 1_000_000)
    assert caught.value.retry_after_seconds == 30.0
    async with sqlite.read() as tx:
        assert await meta.get(tx, "fact") == "kept"
    await _pragma(sqlite, "max_page_count=1000000")
    await _write(sqlite, "x" * 1_000_000)


async def test_a_read_only_database_is_named(sqlite: Database) -> None:
    await _pragma(sqlite, "query_only=ON")
    with pytest.raises(Unavailable, match="read-only; make its disk and file writable"):
        await _write(sqlite, "x")
    async with sqlite.read() as tx:
        await tx._connection.exec_driver_sql("PRAGMA query_only=OFF")
    await _write(sqlite, "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"this is a text, not a database\n" * 100, "not a database"), (None, "cannot be opened")],
)
async def test_a_file_that_is_no_database_is_named_and_kept(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "a.db"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(Unavailable, match=message):
        await Database.open(f"sqlite:///{path}")
    assert content is None or path.read_bytes() == content


async def test_what_cannot_be_written_while_reading_is_not_kept(database: Database) -> None:
    async with database.read() as tx:
        # Types forbid this; at run time PostgreSQL refuses it and SQLite forgets it.
        try:
            await tx.rows(sa.text("INSERT INTO meta (name, value) VALUES ('a', 'b') RETURNING name"))
        except Unavailable as error:
            assert "read-only" in error.message  # noqa: PT017  only one of the two databases raises
    async with database.read() as tx:
        assert await meta.get(tx, "a") is None


@pytest.mark.parametrize("name", ["nul\0", "\ud800"])
async def test_a_name_no_database_can_hold_finds_nothing_or_is_invalid(database: Database, name: str) -> None:
    async with database.read() as tx:
        try:
            assert await projects.get(tx, name) is None
        except Invalid as error:
            assert "cannot be stored" in error.message  # noqa: PT017  SQLite looks a NUL up and finds nothing


async def test_a_document_beyond_what_the_database_holds_is_too_large(sqlite: Database) -> None:
    async with sqlite.begin() as tx:
        raw = await tx._connection.get_raw_connection()
        assert raw.driver_connection is not None
        # SQLite's own limit is a gigabyte; lowered, so that the test stays small.
        await raw.driver_connection._execute(raw.driver_connection._conn.setlimit, 0, 10_000)
        with pytest.raises(TooLarge, match="send a smaller one"):
            await meta.set(tx, "a", "x" * 10_001)


async def test_a_stored_document_that_nothing_can_read_names_its_type(database: Database) -> None:
    async with database.begin() as tx:
        await projects.insert(tx, samples.project())
        await tx.change(sa.text("""UPDATE projects SET document = '{"name": 3}'"""))
        with pytest.raises(ModelyardError, match="a stored Project cannot be read"):
            await projects.get(tx, "default")


async def test_fields_of_a_newer_version_are_passed_over(database: Database) -> None:
    async with database.begin() as tx:
        await projects.insert(tx, samples.project())
        await tx.change(
            sa.text("""UPDATE projects SET document = replace(document, '"trust"', '"hue": 3, "trust"')""")
        )
        assert await projects.get(tx, "default") == samples.project()


async def test_an_unexpected_error_shows_no_values(database: Database) -> None:
    async with database.begin() as tx:
        with pytest.raises(ModelyardError) as caught:
            await tx.rows(sa.text("SELECT :secret FROM nowhere").bindparams(secret="hunter2"))
    assert "hunter2" not in caught.value.message
    assert "hunter2" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("/postgres?", "/nowhere?", "no database of that name"),
        ("//postgres@", "//stranger:hunter2@", "refuses this user"),
        ("?host=", "?host=/nowhere", "cannot be reached"),
    ],
)
async def test_a_server_that_does_not_let_us_in_says_why(
    server: Postgres, was: str, becomes: str, message: str
) -> None:
    with pytest.raises(Unavailable, match=message) as caught:
        await Database.open(server.url.replace(was, becomes))
    assert "hunter2" not in caught.value.message


async def test_an_address_as_other_programs_write_it_works(postgres_url: str) -> None:
    for url in (f"{postgres_url}&sslmode=disable", postgres_url.replace("postgresql:", "postgres:")):
        database = await Database.open(url)
        async with database.begin() as tx:
            await events.append(tx, samples.event())
        await database.close()
