"""The real store's statements on an SQLite in memory, without threads, so that it runs on virtual time."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from modelyard.store import Database, Snapshot, Transaction


@cache
def _template() -> bytes:
    """An empty database, migrated."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        asyncio.run(_migrate(path))
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            content = connection.serialize()
        connection.close()
    return content


async def _migrate(path: Path) -> None:
    await (await Database.open(f"sqlite:///{path}")).close()


def prepare() -> None:
    """Make the template; has to be called once where no event loop runs."""
    _template()


class _Connection:
    """A synchronous connection with the face of an asynchronous one; every statement lets others run."""

    def __init__(self, connection: sa.Connection, pause: Callable[[], Any]) -> None:
        self._connection, self._pause = connection, pause
        self.dialect = connection.dialect

    async def execute(self, statement: Any, values: Any = None) -> Any:
        await self._pause()
        return self._connection.execute(statement, values)


class InlineDatabase(Database):
    """One connection that transactions take in turns."""

    def __init__(self, pause: Callable[[], Any] = lambda: asyncio.sleep(0)) -> None:
        self._pause = pause
        self._turn = asyncio.Lock()
        content = _template()

        def connect() -> sqlite3.Connection:
            made = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
            made.deserialize(content)
            made.execute("PRAGMA foreign_keys=ON")
            return made

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=StaticPool)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        self._sync = engine.connect()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        async with self._turn:
            transaction = self._sync.begin()
            try:
                yield Transaction(_Connection(self._sync, self._pause))  # type: ignore[arg-type]
                transaction.commit()
            finally:
                if transaction.is_active:
                    transaction.rollback()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Snapshot]:
        async with self._turn:
            transaction = self._sync.begin()
            try:
                yield Snapshot(_Connection(self._sync, self._pause))  # type: ignore[arg-type]
            finally:
                transaction.rollback()

    async def close(self) -> None:
        self._sync.close()
        self._sync.engine.dispose()
