"""What is due when, and who has taken it: the queue that outlives every process."""

from __future__ import annotations

import builtins
from typing import Any

import sqlalchemy as sa

from modelyard.store.tables import work
from modelyard.store.transaction import Snapshot, Transaction


async def put(tx: Transaction, kind: str, key: str, *, due_at: float) -> None:
    """Make the key due at `due_at` (seconds since the epoch) or earlier, if it already was.

    A key that somebody has claimed will be due again after it is finished, because its claimer may have read
    the world before this change.
    """
    fresh = {"kind": kind, "key": key, "due_at": due_at, "lease_until": 0.0}
    statement = tx.insert(work).values(fresh)
    await tx.change(
        statement.on_conflict_do_update(
            index_elements=[work.c.kind, work.c.key],
            set_={
                "due_at": _earlier(work.c.due_at, due_at),
                "dirty_at": sa.case(
                    (work.c.lease.is_(None), sa.null()),
                    (work.c.dirty_at.is_(None), due_at),
                    else_=_earlier(work.c.dirty_at, due_at),
                ),
            },
        )
    )


async def claim(
    tx: Transaction, kind: str, *, limit: int, now: float, lease_seconds: float, token: str
) -> builtins.list[str]:
    """Take at most `limit` keys that are due and free, the longest overdue first, for `lease_seconds`.

    `token` must be new for every call; it proves the lease to finish and extend.
    """
    due = (
        sa.select(work.c.key)
        .where(work.c.kind == kind, work.c.due_at <= now, work.c.lease_until <= now)
        .order_by(work.c.due_at)
        .limit(limit)
        # Nothing for SQLite. On PostgreSQL, a row that anybody has locked is passed over, not waited for.
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    rows = await tx.rows(
        sa.update(work)
        .where(work.c.kind == kind, work.c.key.in_(sa.select(due.c.key)))
        .values(lease=token, lease_until=now + lease_seconds, dirty_at=None)
        .returning(work.c.key, work.c.due_at)
    )
    return [row.key for row in sorted(rows, key=lambda row: (row.due_at, row.key))]


async def finish(tx: Transaction, kind: str, key: str, *, token: str, due_at: float | None) -> bool:
    """End the lease; the key is due again at `due_at`, never when None, and earlier if put meanwhile.

    False when the lease was lost: somebody else has the key, and the result must be dropped.
    """
    here = (work.c.kind == kind, work.c.key == key, work.c.lease == token)
    if due_at is None and await tx.change(sa.delete(work).where(*here, work.c.dirty_at.is_(None))):
        return True
    again: Any = work.c.dirty_at
    if due_at is not None:
        again = sa.case((work.c.dirty_at.is_(None), due_at), else_=_earlier(work.c.dirty_at, due_at))
    ended = sa.update(work).where(*here).values(due_at=again, dirty_at=None, lease=None, lease_until=0.0)
    return await tx.change(ended) > 0


async def extend(tx: Transaction, kind: str, key: str, *, token: str, until: float) -> bool:
    """Keep the lease until `until` (seconds since the epoch); False when it was lost."""
    here = (work.c.kind == kind, work.c.key == key, work.c.lease == token)
    return await tx.change(sa.update(work).where(*here).values(lease_until=until)) > 0


async def next_due(tx: Snapshot) -> float | None:
    """When the next key of any kind can be claimed, in seconds since the epoch; None when there is none."""
    free_at = sa.case((work.c.lease_until > work.c.due_at, work.c.lease_until), else_=work.c.due_at)
    row = await tx.row(sa.select(sa.func.min(free_at).label("at")))
    return None if row is None or row.at is None else float(row.at)


def _earlier(moment: sa.Column[Any], other: float) -> sa.ColumnElement[float]:
    # Neither LEAST nor a two-argument MIN is known to both databases.
    return sa.case((moment < other, moment), else_=other)
