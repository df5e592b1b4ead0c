"""Runtimes: what was asked for, and beside it what the platform found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from modelyard.domain.runtime import Runtime, RuntimeStatus
from modelyard.store import documents, page
from modelyard.store.documents import Document
from modelyard.store.page import Page
from modelyard.store.tables import runtimes
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Runtime, without=("status",))
_STATUS = Document(RuntimeStatus)


async def get(tx: Snapshot, project: str, name: str) -> Runtime | None:
    """The runtime of that name, or None."""
    row = await tx.row(sa.select(runtimes).where(runtimes.c.project == project, runtimes.c.name == name))
    return _load(row) if row else None


async def list(tx: Snapshot, project: str, *, limit: int = 100, after: str = "") -> Page[Runtime]:
    """The project's runtimes by name, from behind the name `after`."""
    here = (runtimes.c.project == project, runtimes.c.name > after)
    rows = sa.select(runtimes).where(*here).order_by(runtimes.c.name)
    return await page.read(tx, rows, _load, limit=limit, cursor="name")


async def all(tx: Snapshot) -> tuple[Runtime, ...]:
    """The runtimes of every project, by project and name."""
    rows = await tx.rows(sa.select(runtimes).order_by(runtimes.c.project, runtimes.c.name))
    return tuple(_load(row) for row in rows)


async def insert(tx: Transaction, runtime: Runtime) -> None:
    """Add a runtime; raises Conflict when the name is taken or the project does not exist."""
    values = {
        "project": runtime.project,
        "name": runtime.name,
        "generation": runtime.generation,
        "document": _DOCUMENT.dump(runtime),
        "status": _STATUS.dump(runtime.status),
    }
    await documents.insert(tx, runtimes, values, what=_what(runtime.project, runtime.name))


async def update(tx: Transaction, runtime: Runtime, *, expected: int) -> Runtime:
    """Store all but the status when the generation is still `expected`; answer it as it now is.

    Raises Conflict with the current generation when somebody else was faster, NotFound when it is gone.
    """
    changed = replace(runtime, generation=expected + 1)
    where = {"project": runtime.project, "name": runtime.name}
    values = {"document": _DOCUMENT.dump(changed)}
    what = _what(runtime.project, runtime.name)
    return _load(await documents.compare_and_set(tx, runtimes, where, values, expected=expected, what=what))


async def record(tx: Transaction, project: str, name: str, status: RuntimeStatus) -> bool:
    """Store the status alone; False when the runtime is gone."""
    here = (runtimes.c.project == project, runtimes.c.name == name)
    return await tx.change(sa.update(runtimes).where(*here).values(status=_STATUS.dump(status))) > 0


async def delete(tx: Transaction, project: str, name: str) -> bool:
    """Forget the runtime, and say whether it was there."""
    here = (runtimes.c.project == project, runtimes.c.name == name)
    return await tx.change(sa.delete(runtimes).where(*here)) > 0


def _load(row: sa.Row[Any]) -> Runtime:
    return replace(_DOCUMENT.load(row.document), status=_STATUS.load(row.status))


def _what(project: str, name: str) -> str:
    return f"runtime {name!r} of project {project!r}"
