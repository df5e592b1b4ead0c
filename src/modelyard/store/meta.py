"""Single facts about this installation, by name."""

from __future__ import annotations

import sqlalchemy as sa

from modelyard.store.tables import meta
from modelyard.store.transaction import Snapshot, Transaction


async def get(tx: Snapshot, name: str) -> str | None:
    """The fact of that name, or None."""
    row = await tx.row(sa.select(meta.c.value).where(meta.c.name == name))
    return row.value if row else None


async def set(tx: Transaction, name: str, value: str) -> None:
    """Remember the fact, in place of an earlier one."""
    statement = tx.insert(meta).values(name=name, value=value)
    await tx.change(statement.on_conflict_do_update(index_elements=[meta.c.name], set_={"value": value}))
