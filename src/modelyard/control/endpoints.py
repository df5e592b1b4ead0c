"""Endpoints: where services answer, and what the gateway counted there."""

from __future__ import annotations

from modelyard.control import deployments
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor
from modelyard.domain.endpoint import Endpoint
from modelyard.gateway.base import RouteStatistics


async def list(platform: Platform, actor: Actor, project: str) -> tuple[Endpoint, ...]:
    """Every endpoint of the project, by service."""
    page = await deployments.list(platform, actor, project, limit=1000)
    counted = {each.name: each for each in await platform.gateway.statistics()}
    return tuple(
        Endpoint(
            service=view.service,
            url=view.url,
            addresses=view.addresses,
            requests=counted.get(name, RouteStatistics(name=name)).requests,
        )
        for view in page.items
        for name in [f"{view.project}/{view.service}"]
    )
