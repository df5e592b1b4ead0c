"""Shadow comparison: what both revisions' fronts remember of the same requests, read every few seconds."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic

from modelyard.control.platform import Platform
from modelyard.domain import comparison
from modelyard.domain.comparison import Compared, Report, Sample
from modelyard.domain.deployment import Deployment, Key, Phase, Replica
from modelyard.domain.errors import ModelyardError
from modelyard.domain.rollout_status import RolloutStatus
from modelyard.store import comparisons

PATH = "/modelyard/comparisons"

_SAMPLES = pydantic.TypeAdapter(dict[str, list[Sample]])


async def compared(
    platform: Platform,
    deployment: Deployment,
    rollout: RolloutStatus,
    observed: Sequence[Replica],
    now: float,
) -> Compared:
    """The rollout's report with every pair of answers that is new."""
    key = deployment.key
    async with platform.database.read() as tx:
        report = await comparisons.get(tx, key)
    if report is None or (report.base, report.revision) != (rollout.base, rollout.revision):
        report = Report(
            service=key.service, base=rollout.base, revision=rollout.revision, until=rollout.started_at
        )
    base = await _samples(platform, key, [r for r in observed if r.revision == rollout.base])
    new = await _samples(platform, key, [r for r in observed if r.revision == rollout.revision])
    tolerance = deployment.spec.strategy.tolerance
    return comparison.compare(report, base, new, tolerance=tolerance, until=now)


async def _samples(platform: Platform, key: Key, replicas: Sequence[Replica]) -> list[Sample]:
    found: list[Sample] = []
    for replica in replicas:
        if replica.phase not in (Phase.READY, Phase.DRAINING):
            continue
        try:
            document = await platform.backend.ask(key, replica.name, PATH)
            found += _SAMPLES.validate_json(document).get("samples", [])
        except (ModelyardError, pydantic.ValidationError):
            # It may have left since it was observed; requests that it answered are not compared then.
            continue
    return found
