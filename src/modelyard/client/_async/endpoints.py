"""Endpoints: where services answer, and how their requests are divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelyard.client import decode
from modelyard.client._async.transport import AsyncTransport
from modelyard.domain.endpoint import Endpoint
from modelyard.domain.traffic_spec import EndpointSpec, MirrorTo


class AsyncEndpoints:
    """The endpoints of one project; each deployment has one of its name."""

    def __init__(self, transport: AsyncTransport, project: str) -> None:
        self._transport = transport
        self._path = f"/projects/{project}/endpoints"

    async def list(self) -> tuple[Endpoint, ...]:
        """Where every service answers, and how often it did."""
        return decode.items(Endpoint, await self._transport.call("GET", self._path))

    async def get(self, name: str) -> Endpoint:
        """One endpoint, with the weights in force."""
        return decode.one(Endpoint, await self._transport.call("GET", f"{self._path}/{name}"))

    async def apply(self, name: str, spec: EndpointSpec, *, generation: int | None = None) -> Endpoint:
        """Say how requests are divided; with `generation`, only if nobody changed it since."""
        headers = {"if-match": f'"{generation}"'} if generation is not None else None
        path = f"{self._path}/{name}"
        document = await self._transport.call("PUT", path, json=decode.plain(spec), headers=headers)
        return decode.one(Endpoint, document)

    async def patch(self, name: str, changes: dict[str, Any]) -> Endpoint:
        """Merge changes into the spec."""
        document = await self._transport.call("PATCH", f"{self._path}/{name}", json=changes)
        return decode.one(Endpoint, document)

    async def divide(self, name: str, weights: Mapping[str, int]) -> Endpoint:
        """Send these percents to other deployments or revisions; what remains is the service's own."""
        now = await self.get(name)
        return await self.apply(name, replace(now.spec, weights=dict(weights)), generation=now.generation)

    async def mirror(self, name: str, to: str, percent: int = 100) -> Endpoint:
        """Send copies of some requests to another deployment or revision."""
        now = await self.get(name)
        others = tuple(mirror for mirror in now.spec.mirrors if mirror.to != to)
        mirrors = (*others, MirrorTo(to=to, percent=percent))
        return await self.apply(name, replace(now.spec, mirrors=mirrors), generation=now.generation)

    async def end_mirror(self, name: str, to: str = "") -> Endpoint:
        """Send no more copies to `to`, or to nobody at all."""
        now = await self.get(name)
        others = tuple(mirror for mirror in now.spec.mirrors if to and mirror.to != to)
        return await self.apply(name, replace(now.spec, mirrors=others), generation=now.generation)
