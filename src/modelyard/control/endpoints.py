"""Endpoints: where services answer, and what the gateway counted there."""

from __future__ import annotations

from collections import Counter

from modelyard.control import deployments
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor
from modelyard.domain.endpoint import Endpoint


async def list(platform: Platform, actor: Actor, project: str) -> tuple[Endpoint, ...]:
    """Every endpoint of the project, by service."""
    page = await deployments.list(platform, actor, project, limit=1000)
    counted: Counter[str] = Counter()
    reading = await platform.gateway.statistics()
    for tally in reading.tallies if reading else ():
        counted[tally.route] += tally.requests
    return tuple(
        Endpoint(
            service=view.service,
            url=view.url,
            addresses=view.addresses,
            requests=counted[name],
        )
        for view in page.items
        for name in [f"{view.project}/{view.service}"]
    )
