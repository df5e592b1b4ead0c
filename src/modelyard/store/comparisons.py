"""What comparing two revisions' answers has shown, by deployment."""

from __future__ import annotations

import sqlalchemy as sa

from modelyard.domain.comparison import Report
from modelyard.domain.deployment import Key
from modelyard.store import meta
from modelyard.store.documents import Document
from modelyard.store.tables import meta as table
from modelyard.store.transaction import Snapshot, Transaction

_REPORT = Document(Report)


async def get(tx: Snapshot, key: Key) -> Report | None:
    """The newest report, or None."""
    text = await meta.get(tx, _name(key))
    return _REPORT.load(text) if text else None


async def set(tx: Transaction, key: Key, report: Report) -> None:
    """Remember the report in place of an earlier one."""
    await meta.set(tx, _name(key), _REPORT.dump(report))


async def forget(tx: Transaction, key: Key) -> None:
    """The deployment is gone."""
    await tx.change(sa.delete(table).where(table.c.name == _name(key)))


def _name(key: Key) -> str:
    return f"comparison:{key}"
