"""Login links: each opens one session, once."""

from __future__ import annotations

import sqlalchemy as sa

from modelyard.store import documents
from modelyard.store.tables import links
from modelyard.store.transaction import Transaction


async def insert(tx: Transaction, *, sha256: str, user: str, expires_at: float) -> None:
    """Remember a link by the digest of its secret, until `expires_at` in seconds since the epoch."""
    values = {"sha256": sha256, "user": user, "expires_at": expires_at}
    await documents.insert(tx, links, values, what="this login link")


async def take(tx: Transaction, sha256: str, *, now: float) -> str | None:
    """The user whom the link logs in, once; None when it was used, has expired or never was."""
    row = await tx.row(
        sa.delete(links).where(links.c.sha256 == sha256).returning(links.c.user, links.c.expires_at)
    )
    return row.user if row and row.expires_at > now else None


async def sweep(tx: Transaction, *, now: float) -> int:
    """Forget the links that have expired, and say how many there were."""
    return await tx.change(sa.delete(links).where(links.c.expires_at <= now))
