"""What each replica of a deployment asks for: of the newest revision, or the one that it fell back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelyard.domain.deployment import Deployment, Key
from modelyard.domain.placement import Request
from modelyard.store import Snapshot, revisions


async def of(tx: Snapshot, known: Sequence[Deployment]) -> Mapping[Key, Request]:
    """By deployment. After the newest revision failed, the last good one runs, with what that asks for."""
    found = {each.key: Request.of(each.spec.resources) for each in known}
    fallen = [each for each in known if each.wanted_revision != each.revision]
    for project in sorted({each.project for each in fallen}):
        here = [each for each in fallen if each.project == project]
        earlier = await revisions.numbered(tx, project, {each.wanted_revision for each in here})
        for each in here:
            revision = earlier.get((each.key, each.wanted_revision))
            if revision is not None:
                found[each.key] = Request.of(revision.spec.resources)
    return found
