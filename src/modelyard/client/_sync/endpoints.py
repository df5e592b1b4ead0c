"""Endpoints: where services answer, and how their requests are divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelyard.client import decode
from modelyard.client._sync.transport import Transport
from modelyard.domain.endpoint import Endpoint
from modelyard.domain.traffic_spec import EndpointSpec, MirrorTo


class Endpoints:
    """The endpoints of one project; each deployment has one of its name."""

    def __init__(self, transport: Transport, project: str) -> None:
        self._transport = transport
        self._path = f"/projects/{project}/endpoints"

    def list(self) -> tuple[Endpoint, ...]:
        """Where every service answers, and how often it did."""
        return decode.items(Endpoint, self._transport.call("GET", self._path))

    def get(self, name: str) -> Endpoint:
        """One endpoint, with the weights in force."""
        return decode.one(Endpoint, self._transport.call("GET", f"{self._path}/{name}"))

    def apply(self, name: str, spec: EndpointSpec, *, generation: int | None = None) -> Endpoint:
        """Say how requests are divided; with `generation`, only if nobody changed it since."""
        headers = {"if-match": f'"{generation}"'} if generation is not None else None
        path = f"{self._path}/{name}"
        document = self._transport.call("PUT", path, json=decode.plain(spec), headers=headers)
        return decode.one(Endpoint, document)

    def patch(self, name: str, changes: dict[str, Any]) -> Endpoint:
        """Merge changes into the spec."""
        document = self._transport.call("PATCH", f"{self._path}/{name}", json=changes)
        return decode.one(Endpoint, document)

    def divide(self, name: str, weights: Mapping[str, int]) -> Endpoint:
        """Send these percents to other deployments or revisions; what remains is the service's own."""
        now = self.get(name)
        return self.apply(name, replace(now.spec, weights=dict(weights)), generation=now.generation)

    def mirror(self, name: str, to: str, percent: int = 100) -> Endpoint:
        """Send copies of some requests to another deployment or revision."""
        now = self.get(name)
        others = tuple(mirror for mirror in now.spec.mirrors if mirror.to != to)
        mirrors = (*others, MirrorTo(to=to, percent=percent))
        return self.apply(name, replace(now.spec, mirrors=mirrors), generation=now.generation)

    def end_mirror(self, name: str, to: str = "") -> Endpoint:
        """Send no more copies to `to`, or to nobody at all."""
        now = self.get(name)
        others = tuple(mirror for mirror in now.spec.mirrors if to and mirror.to != to)
        return self.apply(name, replace(now.spec, mirrors=others), generation=now.generation)
