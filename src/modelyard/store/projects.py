"""Projects, as they are remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from modelyard.domain.project import Project
from modelyard.store import documents, page
from modelyard.store.documents import Document
from modelyard.store.page import Page
from modelyard.store.tables import projects
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Project)


async def get(tx: Snapshot, name: str) -> Project | None:
    """The project of that name, or None."""
    row = await tx.row(sa.select(projects).where(projects.c.name == name))
    return _load(row) if row else None


async def list(tx: Snapshot, *, limit: int = 100, after: str = "") -> Page[Project]:
    """Projects by name, from behind the name `after`."""
    rows = sa.select(projects).where(projects.c.name > after).order_by(projects.c.name)
    return await page.read(tx, rows, _load, limit=limit, cursor="name")


async def insert(tx: Transaction, project: Project) -> None:
    """Add a project; raises Conflict when the name is taken."""
    await documents.insert(tx, projects, {"name": project.name, **_values(project)}, what=_what(project.name))


async def update(tx: Transaction, project: Project, *, expected: int) -> Project:
    """Store it when its generation is still `expected`, and answer it with the next one.

    Raises Conflict with the current generation when somebody else was faster, NotFound when it is gone.
    """
    changed = replace(project, generation=expected + 1)
    where = {"name": project.name}
    values = {"document": _DOCUMENT.dump(changed)}
    await documents.compare_and_set(tx, projects, where, values, expected=expected, what=_what(project.name))
    return changed


async def delete(tx: Transaction, name: str) -> bool:
    """Forget the project and its members, and say whether it was there.

    Raises Conflict while it still has models, runtimes or deployments.
    """
    return await tx.change(sa.delete(projects).where(projects.c.name == name)) > 0


def _values(project: Project) -> dict[str, Any]:
    return {"generation": project.generation, "document": _DOCUMENT.dump(project)}


def _load(row: sa.Row[Any]) -> Project:
    return _DOCUMENT.load(row.document)


def _what(name: str) -> str:
    return f"project {name!r}"
