"""Revisions: the numbered snapshots of what deployments ran."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from modelyard.domain.deployment import Key, Revision
from modelyard.store import documents, page, usage
from modelyard.store.documents import Document
from modelyard.store.page import Page
from modelyard.store.tables import revisions
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Revision)


async def get(tx: Snapshot, key: Key, number: int) -> Revision | None:
    """The deployment's revision of that number, or None."""
    row = await tx.row(sa.select(revisions).where(*_here(key), revisions.c.number == number))
    return _load(row) if row else None


async def numbered(tx: Snapshot, project: str, numbers: Collection[int]) -> dict[tuple[Key, int], Revision]:
    """The revisions of a project's deployments that have one of these numbers."""
    wanted = sa.select(revisions).where(
        revisions.c.project == project, revisions.c.number.in_(sorted(numbers))
    )
    found = [_load(row) for row in await tx.rows(wanted)] if numbers else []
    return {(Key(each.project, each.name, each.stage), each.number): each for each in found}


async def list(tx: Snapshot, key: Key, *, limit: int = 100, after: str = "") -> Page[Revision]:
    """The deployment's revisions, newest first, from behind the number `after`."""
    rows = sa.select(revisions).where(*_here(key)).order_by(revisions.c.number.desc())
    if after:
        rows = rows.where(revisions.c.number < page.number(after))
    return await page.read(tx, rows, _load, limit=limit, cursor="number")


async def insert(tx: Transaction, revision: Revision) -> None:
    """Add a revision; raises Conflict when the number is taken.

    Its deployment must be there when the transaction ends.
    """
    key = Key(revision.project, revision.name, revision.stage)
    values = {
        "project": key.project,
        "service": key.service,
        "number": revision.number,
        **usage.columns(revision.spec),
        "document": _DOCUMENT.dump(revision),
    }
    await documents.insert(tx, revisions, values, what=f"revision {revision.number} of {key}")


async def delete_all(tx: Transaction, key: Key) -> int:
    """Forget the deployment's revisions, and say how many there were."""
    return await tx.change(sa.delete(revisions).where(*_here(key)))


def _here(key: Key) -> tuple[sa.ColumnElement[bool], ...]:
    return (revisions.c.project == key.project, revisions.c.service == key.service)


def _load(row: sa.Row[Any]) -> Revision:
    return _DOCUMENT.load(row.document)
