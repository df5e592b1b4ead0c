"""The open database: transactions for those who write, snapshots for those who read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from modelyard.store import engine, schema
from modelyard.store.failures import translated
from modelyard.store.transaction import Snapshot, Transaction

_WRITER_LOCK = 0x6D6F64656C79
"""Identity of the advisory lock that PostgreSQL keeps for us."""


class Database:
    """SQLite or PostgreSQL, open.

    Writers take turns on both: what a transaction checked stays true until it commits, and events become
    visible in the order of their numbers. Keep transactions short, and wait for nothing else inside one.
    """

    def __init__(self, reached_by: AsyncEngine) -> None:
        self._engine = reached_by
        self._postgresql = reached_by.dialect.name == "postgresql"
        self._writes = reached_by.execution_options(**{engine.WRITES: True})
        self._reads = (
            reached_by.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            if self._postgresql
            else reached_by
        )
        # Writers of this process queue here in order, rather than poll a lock or hold connections.
        self._turn = asyncio.Lock()
        self._writer: asyncio.Task[object] | None = None

    @classmethod
    async def open(cls, url: str, *, migrate: bool = True, patience_seconds: float = 5.0) -> Database:
        """Open the database at `url` and bring its tables up to date when `migrate`.

        `url` is `sqlite:////file` or `postgresql://…`. Locks of other processes are waited for
        `patience_seconds`. Several processes may open an empty database at once. Raises Invalid for an
        address or tables that this version cannot use, Unavailable when the database is away.
        """
        database = cls(engine.create(url, patience_seconds=patience_seconds))
        try:
            await database._check_schema(migrate=migrate)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Give back all connections; transactions that are still open are undone."""
        await self._engine.dispose()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """One change, alone: committed and durable when the block ends, undone when it raises.

        Raises Unavailable when the database is away or another writer keeps it too long.
        """
        if self._writer is not None and self._writer is asyncio.current_task():
            # It would wait for itself, for ever and in silence.
            raise RuntimeError("a transaction was begun inside another; pass `tx` on instead")
        async with self._alone(), _connected(self._writes) as connection:
            if self._postgresql:
                with translated():
                    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
            yield Transaction(connection)
            await _commit(connection)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Snapshot]:
        """One consistent view that waits for no writer; raises Unavailable when the database is away."""
        async with _connected(self._reads) as connection:
            yield Snapshot(connection)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        async with self._turn:
            self._writer = asyncio.current_task()
            try:
                yield
            finally:
                self._writer = None

    async def _check_schema(self, *, migrate: bool) -> None:
        async with _connected(self._reads) as connection:
            with translated():
                found = await connection.run_sync(schema.revision)
        if found == schema.HEAD:
            return
        if not migrate:
            raise schema.outdated(found)
        async with self.begin() as tx:
            await tx.alter(schema.upgrade)


@asynccontextmanager
async def _connected(source: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    connection = source.connect()
    with translated():
        await connection.start()
    try:
        with translated():
            await connection.begin()
        yield connection
    finally:
        # Shielded, so that a cancelled caller leaves no transaction behind.
        await asyncio.shield(asyncio.ensure_future(_left(connection)))


async def _commit(connection: AsyncConnection) -> None:
    try:
        with translated():
            await connection.commit()
    except BaseException:
        # After a COMMIT that failed, SQLite is still inside the transaction and holds the writer's lock, and
        # the pool would hand the connection on like that: close it for good.
        await asyncio.shield(asyncio.ensure_future(connection.invalidate()))
        raise


async def _left(connection: AsyncConnection) -> None:
    """Undo what was not committed and give the connection back."""
    try:
        await connection.close()
    except exc.DBAPIError:
        # The server went away and undoes it by itself; the caller's own error matters more than this one.
        await connection.close()
