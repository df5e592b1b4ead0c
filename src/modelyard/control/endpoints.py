"""Endpoints: where services answer, and what the gateway counted there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.control import deployments
from modelyard.control.platform import Platform
from modelyard.domain import wire
from modelyard.domain.access import Actor
from modelyard.domain.endpoint import Addresses
from modelyard.gateway.base import RouteStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One service's addresses, with its requests since the gateway started."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    service: str
    url: str
    addresses: Addresses
    requests: int


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
