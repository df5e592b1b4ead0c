"""Console sessions: found by the hash of their secret, until they expire."""

from __future__ import annotations

import sqlalchemy as sa

from modelyard.store import documents
from modelyard.store.tables import sessions
from modelyard.store.transaction import Snapshot, Transaction


async def insert(tx: Transaction, *, sha256: str, user: str, expires_at: float) -> None:
    """Remember a session by the digest of its secret, until `expires_at` in seconds since the epoch."""
    values = {"sha256": sha256, "user": user, "expires_at": expires_at}
    await documents.insert(tx, sessions, values, what="this session")


async def find(tx: Snapshot, sha256: str, *, now: float) -> str | None:
    """The user of the session; None when it has ended, has expired or never was."""
    here = (sessions.c.sha256 == sha256, sessions.c.expires_at > now)
    row = await tx.row(sa.select(sessions.c.user).where(*here))
    return row.user if row else None


async def delete(tx: Transaction, sha256: str) -> bool:
    """End the session, and say whether there was one."""
    return await tx.change(sa.delete(sessions).where(sessions.c.sha256 == sha256)) > 0


async def delete_all(tx: Transaction, user: str) -> int:
    """End all sessions of the user, as when the password changes; say how many there were."""
    return await tx.change(sa.delete(sessions).where(sessions.c.user == user))


async def sweep(tx: Transaction, *, now: float) -> int:
    """Forget the sessions that have expired, and say how many there were."""
    return await tx.change(sa.delete(sessions).where(sessions.c.expires_at <= now))
