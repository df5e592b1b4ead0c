"""Answers already given, so that a repeated request is not carried out twice."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from modelyard.store import documents
from modelyard.store.tables import idempotency
from modelyard.store.transaction import Snapshot, Transaction


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was asked, in short, and what was answered."""

    fingerprint: str
    """Digest of the request: the same key with another request is a mistake of the client."""
    status: int
    """HTTP status of the answer."""
    body: bytes
    """Its body."""


async def find(tx: Snapshot, actor: str, key: str) -> Remembered | None:
    """What the actor was answered under that key, or None."""
    row = await tx.row(sa.select(idempotency).where(idempotency.c.actor == actor, idempotency.c.key == key))
    return Remembered(row.fingerprint, row.status, row.body) if row else None


async def save(tx: Transaction, actor: str, key: str, remembered: Remembered, *, now: float) -> None:
    """Remember the answer; raises Conflict when one is already remembered under that key."""
    values = {
        "actor": actor,
        "key": key,
        "fingerprint": remembered.fingerprint,
        "status": remembered.status,
        "body": remembered.body,
        "saved_at": now,
    }
    await documents.insert(tx, idempotency, values, what=f"an answer for idempotency key {key!r}")


async def sweep(tx: Transaction, *, before: float) -> int:
    """Forget the answers saved before `before` (seconds since the epoch), and say how many there were."""
    return await tx.change(sa.delete(idempotency).where(idempotency.c.saved_at < before))
