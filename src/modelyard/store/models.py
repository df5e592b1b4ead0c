"""Models, as they are remembered; their versions are next door."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from modelyard.domain.model import Model
from modelyard.store import documents, page
from modelyard.store.documents import Document
from modelyard.store.page import Page
from modelyard.store.tables import models
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Model)


async def get(tx: Snapshot, project: str, name: str) -> Model | None:
    """The model of that name, or None."""
    row = await tx.row(sa.select(models).where(models.c.project == project, models.c.name == name))
    return _load(row) if row else None


async def list(tx: Snapshot, project: str, *, limit: int = 100, after: str = "") -> Page[Model]:
    """The project's models by name, from behind the name `after`."""
    here = (models.c.project == project, models.c.name > after)
    rows = sa.select(models).where(*here).order_by(models.c.name)
    return await page.read(tx, rows, _load, limit=limit, cursor="name")


async def insert(tx: Transaction, model: Model) -> None:
    """Add a model; raises Conflict when the name is taken or the project does not exist."""
    values = {
        "project": model.project,
        "name": model.name,
        "generation": model.generation,
        "document": _DOCUMENT.dump(model),
    }
    await documents.insert(tx, models, values, what=_what(model))


async def update(tx: Transaction, model: Model, *, expected: int) -> Model:
    """Store it when its generation is still `expected`, and answer it with the next one.

    Raises Conflict with the current generation when somebody else was faster, NotFound when it is gone.
    """
    changed = replace(model, generation=expected + 1)
    where = {"project": model.project, "name": model.name}
    values = {"document": _DOCUMENT.dump(changed)}
    await documents.compare_and_set(tx, models, where, values, expected=expected, what=_what(model))
    return changed


async def delete(tx: Transaction, project: str, name: str) -> bool:
    """Forget the model, and say whether it was there; raises Conflict while it has versions."""
    here = (models.c.project == project, models.c.name == name)
    return await tx.change(sa.delete(models).where(*here)) > 0


def _load(row: sa.Row[Any]) -> Model:
    return _DOCUMENT.load(row.document)


def _what(model: Model) -> str:
    return f"model {model.name!r} of project {model.project!r}"
