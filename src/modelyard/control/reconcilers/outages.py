"""While nobody can tell what replicas do: their last status stays, said to be old, and nothing is done."""

from __future__ import annotations

from datetime import UTC, datetime

from modelyard.backends.base import Outage
from modelyard.control import authorise
from modelyard.control.deployments import KIND
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.domain import conditions
from modelyard.domain.deployment import Deployment
from modelyard.store import deployments

LOOK = Again(2.0)
"""How often is looked whether it is over."""


async def wait(platform: Platform, deployment: Deployment, outage: Outage) -> Again:
    """Record once that the deployment's status is old; starts nothing, ends nothing, fails nothing."""
    if conditions.is_stale(deployment.status):
        return LOOK
    seen = datetime.fromtimestamp(outage.since, UTC).isoformat(timespec="seconds")
    message = f"{outage.message}; what is shown was seen at {seen} or earlier"
    async with platform.database.begin() as tx:
        current = await deployments.get(tx, deployment.key)
        if current is None:
            return Again(0.0)
        await deployments.record(
            tx, current.key, conditions.unreachable(current.status, message, now=outage.since)
        )
        await authorise.note(
            platform, tx, None, project=current.project, kind=KIND, name=current.key.service,
            reason=conditions.UNREACHABLE, message=outage.message,
        )  # fmt: skip
    return LOOK
