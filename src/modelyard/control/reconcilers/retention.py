"""Forget what nobody needs: expired logins, old answers, files of deleted versions."""

from __future__ import annotations

from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.store import idempotency, links, sessions, versions

REST = Again(900.0)
_ANSWER_SECONDS = 86_400.0
"""A request is not repeated under its idempotency key after so long."""


async def reconcile(platform: Platform, _: str) -> Again:
    """Sweep once."""
    now = platform.clock()
    async with platform.database.begin() as tx:
        await links.sweep(tx, now=now)
        await sessions.sweep(tx, now=now)
        await idempotency.sweep(tx, before=now - _ANSWER_SECONDS)
    async with platform.database.read() as tx:
        in_use = await versions.all_files(tx)
    await platform.artifacts.sweep(in_use, now)
    return REST
