"""What a caller holds between begin and commit: statements in, rows out, our errors only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from modelyard.store.failures import translated


class Snapshot:
    """A consistent view of the database, for reading."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
        """Every row that the statement answers; raises Unavailable when the database is away."""
        with translated():
            return (await self._connection.execute(statement)).all()

    async def row(self, statement: sa.Executable) -> sa.Row[Any] | None:
        """The first row, or None; raises Unavailable when the database is away."""
        with translated():
            return (await self._connection.execute(statement)).first()


class Transaction(Snapshot):
    """A change in the making: all of it is kept, durably, when its block ends well, else nothing."""

    async def change(self, statement: sa.Executable, values: Sequence[dict[str, Any]] = ()) -> int:
        """Run a statement once, or once for each of `values`, and say how many rows it changed.

        Raises Conflict when a reference would break, Unavailable when the database is away.
        """
        with translated():
            result = await self._connection.execute(statement, list(values) or None)
            return int(result.rowcount)

    async def alter(self, change: Callable[[sa.Connection], None]) -> None:
        """Let `change` work on the connection itself, as migrations do."""
        with translated():
            await self._connection.run_sync(change)

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that can say what happens on a duplicate, in this database's dialect."""
        if self._connection.dialect.name == "postgresql":
            return postgresql.insert(table)
        return sqlite.insert(table)
