"""Secrets: what may be told of them, and beside it their values, sealed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from modelyard.domain.secret import Secret
from modelyard.store import documents, page
from modelyard.store.documents import Document
from modelyard.store.page import Page
from modelyard.store.tables import secrets
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Secret, without=("used_by",))


async def get(tx: Snapshot, project: str, name: str) -> tuple[Secret, bytes] | None:
    """The secret of that name and its sealed values, or None."""
    row = await tx.row(sa.select(secrets).where(secrets.c.project == project, secrets.c.name == name))
    return (_load(row), bytes(row.sealed)) if row else None


async def known(tx: Snapshot, project: str, names: Collection[str]) -> dict[str, Secret]:
    """Those of these names that are there, without their values."""
    columns = (secrets.c.name, secrets.c.document)
    wanted = sa.select(*columns).where(secrets.c.project == project, secrets.c.name.in_(sorted(names)))
    return {row.name: _load(row) for row in await tx.rows(wanted)} if names else {}


async def list(tx: Snapshot, project: str, *, limit: int = 100, after: str = "") -> Page[Secret]:
    """The project's secrets by name, from behind the name `after`, without their values."""
    columns = (secrets.c.name, secrets.c.document)
    rows = sa.select(*columns).where(secrets.c.project == project, secrets.c.name > after)
    return await page.read(tx, rows.order_by(secrets.c.name), _load, limit=limit, cursor="name")


async def insert(tx: Transaction, secret: Secret, sealed: bytes) -> None:
    """Add a secret; raises Conflict when the name is taken or the project does not exist."""
    values = {
        "project": secret.project,
        "name": secret.name,
        "generation": secret.generation,
        "document": _DOCUMENT.dump(secret),
        "sealed": sealed,
    }
    await documents.insert(tx, secrets, values, what=_what(secret.project, secret.name))


async def update(tx: Transaction, secret: Secret, sealed: bytes, *, expected: int) -> Secret:
    """Store it when its generation is still `expected`, and answer it with the next one.

    Raises Conflict with the current generation when somebody else was faster, NotFound when it is gone.
    """
    changed = replace(secret, generation=expected + 1)
    where = {"project": secret.project, "name": secret.name}
    values = {"document": _DOCUMENT.dump(changed), "sealed": sealed}
    what = _what(secret.project, secret.name)
    await documents.compare_and_set(tx, secrets, where, values, expected=expected, what=what)
    return changed


async def delete(tx: Transaction, project: str, name: str) -> bool:
    """Forget the secret, and say whether it was there."""
    here = (secrets.c.project == project, secrets.c.name == name)
    return await tx.change(sa.delete(secrets).where(*here)) > 0


def _load(row: sa.Row[Any]) -> Secret:
    return _DOCUMENT.load(row.document)


def _what(project: str, name: str) -> str:
    return f"secret {name!r} of project {project!r}"
