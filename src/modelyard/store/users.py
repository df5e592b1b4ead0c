"""Users and the hashes of their passwords, as they are remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from modelyard.domain.access import User
from modelyard.store import documents, page
from modelyard.store.documents import Document
from modelyard.store.page import Page
from modelyard.store.tables import users
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(User)


async def get(tx: Snapshot, name: str) -> User | None:
    """The user of that name, or None."""
    row = await tx.row(sa.select(users.c.document).where(users.c.name == name))
    return _load(row) if row else None


async def list(tx: Snapshot, *, limit: int = 100, after: str = "") -> Page[User]:
    """Users by name, from behind the name `after`."""
    rows = sa.select(users.c.name, users.c.document).where(users.c.name > after).order_by(users.c.name)
    return await page.read(tx, rows, _load, limit=limit, cursor="name")


async def insert(tx: Transaction, user: User, *, password_hash: str | None) -> None:
    """Add a user, without a password when it is None; raises Conflict when the name is taken."""
    values = {"name": user.name, "password_hash": password_hash, "generation": user.generation}
    await documents.insert(tx, users, values | _values(user), what=_what(user.name))


async def update(tx: Transaction, user: User, *, expected: int) -> User:
    """Store it when its generation is still `expected`, and answer it with the next one.

    Raises Conflict with the current generation when somebody else was faster, NotFound when it is gone.
    """
    changed = replace(user, generation=expected + 1)
    where = {"name": user.name}
    await documents.compare_and_set(
        tx, users, where, _values(changed), expected=expected, what=_what(user.name)
    )
    return changed


async def delete(tx: Transaction, name: str) -> bool:
    """Forget the user with all memberships, tokens, sessions and links; say whether it was there."""
    return await tx.change(sa.delete(users).where(users.c.name == name)) > 0


async def password_hash(tx: Snapshot, name: str) -> str | None:
    """The hash of the user's password; None when there is no password or no such user."""
    row = await tx.row(sa.select(users.c.password_hash).where(users.c.name == name))
    return row.password_hash if row else None


async def set_password_hash(tx: Transaction, name: str, hash: str | None) -> None:
    """Replace the hash of the user's password, None to remove it; raises NotFound."""
    if not await tx.change(sa.update(users).where(users.c.name == name).values(password_hash=hash)):
        raise documents.missing(_what(name))


def _values(user: User) -> dict[str, Any]:
    return {"disabled": user.disabled, "document": _DOCUMENT.dump(user)}


def _load(row: sa.Row[Any]) -> User:
    return _DOCUMENT.load(row.document)


def _what(name: str) -> str:
    return f"user {name!r}"
