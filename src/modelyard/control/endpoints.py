"""Endpoints: where services answer, and what the gateway counted there."""

from __future__ import annotations

from collections import Counter

from modelyard.control import deployments
from modelyard.control.platform import Platform
from modelyard.domain import tallies
from modelyard.domain.access import Actor
from modelyard.domain.endpoint import Endpoint
from modelyard.store import readings


async def list(platform: Platform, actor: Actor, project: str) -> tuple[Endpoint, ...]:
    """Every endpoint of the project, by service."""
    page = await deployments.list(platform, actor, project, limit=1000)
    counted = await _counted(platform)
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


async def _counted(platform: Platform) -> Counter[str]:
    """Route to all its requests: those that were kept, and what the gateway counted since."""
    async with platform.database.read() as tx:
        last = await readings.last(tx)
    reading = await platform.gateway.statistics()  # after the last one, so that it is no older
    counted = Counter(last.totals)
    if reading is not None:
        known = last.tallies if last.epoch == reading.epoch else {}
        for tally in reading.tallies:
            counted[tally.route] += tallies.grown(known.get(tally.name), tally).requests
    return counted
