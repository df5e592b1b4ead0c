"""Users' tokens: found by the hash of their secret, which is never stored itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from modelyard.domain.access import Token
from modelyard.store import documents
from modelyard.store.documents import Document
from modelyard.store.tables import tokens, users
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Token, without=("revoked", "last_used_at"))


async def insert(tx: Transaction, token: Token, *, sha256: str) -> None:
    """Remember a token by the hex digest of its secret; raises Conflict when id or digest is taken."""
    values = {
        "id": token.id,
        "user": token.user,
        "sha256": sha256,
        "expires_at": _seconds(token.expires_at),
        "last_used_at": _seconds(token.last_used_at),
        "revoked": token.revoked,
        "document": _DOCUMENT.dump(token),
    }
    await documents.insert(tx, tokens, values, what=f"token {token.id!r}")


async def find(tx: Snapshot, sha256: str) -> Token | None:
    """The token with that digest, also when it is revoked or expired: the caller judges that."""
    row = await tx.row(sa.select(tokens).where(tokens.c.sha256 == sha256))
    return _load(row) if row else None


async def list(tx: Snapshot, *, user: str = "") -> tuple[Token, ...]:
    """Tokens by id, revoked ones included; of one user, or of all when empty."""
    rows = sa.select(tokens).order_by(tokens.c.id)
    if user:
        rows = rows.where(tokens.c.user == user)
    return tuple(_load(row) for row in await tx.rows(rows))


async def revoke(tx: Transaction, id: str) -> bool:
    """End the token for good; False when there is none of that id or it was revoked before."""
    here = (tokens.c.id == id, tokens.c.revoked.is_(False))
    return await tx.change(sa.update(tokens).where(*here).values(revoked=True)) > 0


async def touch(tx: Transaction, id: str, *, at: float) -> None:
    """Note that the token was used at `at`, in seconds since the epoch; an older note is kept if newer."""
    older = sa.or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < at)
    await tx.change(sa.update(tokens).where(tokens.c.id == id, older).values(last_used_at=at))


async def active(tx: Snapshot, *, now: float) -> tuple[tuple[str, Token], ...]:
    """Digest and token of all that open something at `now`: not revoked or expired, user not disabled."""
    rows = (
        sa.select(tokens)
        .join(users, users.c.name == tokens.c.user)
        .where(
            tokens.c.revoked.is_(False),
            users.c.disabled.is_(False),
            sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now),
        )
        .order_by(tokens.c.id)
    )
    return tuple((row.sha256, _load(row)) for row in await tx.rows(rows))


def _load(row: sa.Row[Any]) -> Token:
    used = None if row.last_used_at is None else datetime.fromtimestamp(row.last_used_at, UTC)
    return replace(_DOCUMENT.load(row.document), revoked=row.revoked, last_used_at=used)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
