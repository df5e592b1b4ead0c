"""Bring what a backend keeps of a project beside its replicas into line: its quota and its network."""

from __future__ import annotations

from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.domain.project import ProjectSpec
from modelyard.store import projects

_REST = Again(600.0)
_LOOK = Again(2.0)


async def reconcile(platform: Platform, name: str) -> Again | None:
    """One look; None when the project is gone and nothing of it is kept any more."""
    if platform.backend.outage() is not None:
        return _LOOK
    async with platform.database.read() as tx:
        found = await projects.get(tx, name)
    spec = found.spec if found is not None else ProjectSpec()
    await platform.backend.settle(name, spec.quota, spec.network)
    return _REST if found is not None else None
