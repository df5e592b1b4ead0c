"""Both databases, real and empty, for every test of the suite."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from modelyard.store import Database
from modelyard.store.tables import metadata
from tests.support import postgres


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Postgres]:
    """One PostgreSQL for the whole run; every test clears its tables."""
    with postgres.running() as running:
        yield running


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the migrated SQLite file will lie, once the first test has made it."""
    return tmp_path_factory.mktemp("sqlite") / "template.db"


@pytest.fixture
async def sqlite_url(template: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite file."""
    if not template.exists():
        await (await Database.open(f"sqlite:///{template}")).close()
    shutil.copy(template, tmp_path / "test.db")
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture
async def postgres_url(server: postgres.Postgres) -> str:
    """The migrated, empty database of the PostgreSQL server."""
    await (await Database.open(server.url)).close()
    engine = create_async_engine(server.url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        # The events refuse to be cleared; only a superuser may pass their triggers, like this.
        await connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        tables = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        await connection.execute(sa.text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    await engine.dispose()
    return server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Address of an empty database, of each kind in turn."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """An empty database, open."""
    opened = await Database.open(url)
    yield opened
    await opened.close()
