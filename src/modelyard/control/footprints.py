"""Puts the memory that workers were seen to use on the record of the version that they serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from modelyard.control import models
from modelyard.control.platform import Platform
from modelyard.domain import naming
from modelyard.domain.deployment import Key, Replica, Revision
from modelyard.domain.errors import NotFound
from modelyard.domain.footprint import Footprint, learned
from modelyard.store import versions

_KEPT = 10_000
_Run = tuple[Key, int, datetime]
"""One revision, and no later one of its name, whose model may be another under the name of this one's."""


class Footprints:
    """Remembers what was recorded, so that looking at a deployment costs no query."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._known: dict[_Run, Footprint] = {}
        """What the records say of what ran last; the oldest are forgotten."""

    async def note(self, revisions: Mapping[int, Revision], observed: Sequence[Replica]) -> None:
        """Record what is new of the versions of these replicas; a version that is gone is passed over."""
        for replica in observed:
            revision = revisions.get(replica.revision)
            if revision is None or revision.spec.artifact or not revision.spec.server.is_own:
                continue  # of a version with several models the footprint would be of one of them
            seen = Footprint(
                loaded_bytes=replica.loaded_bytes, peak_bytes=replica.peak_bytes, variant=replica.variant
            )
            if learned(self._known.get(_run(revision), Footprint()), seen) is not None:
                await self._record(revision, seen)

    async def _record(self, revision: Revision, seen: Footprint) -> None:
        try:
            async with self._platform.database.begin() as tx:
                ref = naming.parse_model_ref(revision.spec.model)
                version = await models.resolve(tx, revision.project, ref)
                after = learned(version.memory, seen)
                if after is not None:
                    await versions.record(tx, replace(version, memory=after))
        except NotFound:
            return
        self._known[_run(revision)] = after or version.memory
        while len(self._known) > _KEPT:
            self._known.pop(next(iter(self._known)))


def _run(revision: Revision) -> _Run:
    return Key(revision.project, revision.name, revision.stage), revision.number, revision.created_at
