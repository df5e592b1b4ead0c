"""Services' own ports on the nodes of a cluster: they lead to routers, and so to the service."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelyard.domain.deployment import Failure
from modelyard.domain.endpoint import Route, RoutingView
from modelyard.domain.errors import Invalid
from modelyard.domain.tallies import Reading
from modelyard.gateway.base import Certificate, Copies, Gateway
from modelyard.gateway.gateway_api.site import MANAGED_BY, MANAGER, NODE_PORTS, ROUTE, name_of

log = logging.getLogger(__name__)

OWN_PORTS = "modelyard.dev/own-ports"
"""Label of the Services that are made here; one that has it and is not wanted any more is taken away."""
_AGAIN_SECONDS = 5.0
_NAMES = ("http", "second")

Manifest = dict[str, Any]


class Applier(Protocol):
    """Services of the cluster. All may raise Unavailable."""

    async def apply(self, manifest: Manifest) -> None:
        """Have this Service be as it is given here; raises Invalid that says why it may not be."""

    async def delete(self, manifest: Manifest) -> None:
        """Have it be no more; also one that is gone already."""

    async def ours(self) -> Sequence[Manifest]:
        """All that were made for own ports, as they are now."""

    async def taken(self) -> frozenset[int]:
        """Ports of the nodes that any Service of the cluster has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Where the ports are, and whom they lead to."""

    namespace: str
    """The platform's own."""
    selector: Mapping[str, str]
    """Labels of the routers' pods."""
    ports: range = NODE_PORTS
    """What the cluster opens on its nodes (`--service-node-port-range`)."""


def services(routes: Iterable[Route], nodes: Nodes) -> Iterator[Manifest]:
    """For each service with ports of its own that nodes open, a Service with these; routers listen there."""
    for route in sorted(routes, key=lambda each: each.name):
        if not route.ports or any(port not in nodes.ports for port in route.ports):
            continue
        ports = [
            {"name": name, "port": port, "targetPort": port, "nodePort": port, "protocol": "TCP"}
            for name, port in zip(_NAMES, route.ports, strict=False)
        ]
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name_of("ports", route.name),
                "namespace": nodes.namespace,
                "labels": {MANAGED_BY: MANAGER, OWN_PORTS: "true"},
                "annotations": {ROUTE: route.name},
            },
            "spec": {"type": "NodePort", "selector": dict(nodes.selector), "ports": ports},
        }


class NodePorts:
    """The routers, with services' own ports on every node in front of them; all else is theirs."""

    def __init__(self, routers: Gateway, applier: Applier, nodes: Nodes) -> None:
        self._routers, self._applier, self._nodes = routers, applier, nodes
        self._lock = asyncio.Lock()
        self._routes: tuple[Route, ...] | None = None
        self._applied: dict[str, str] = {}
        self._refused: dict[int, str] = {}
        self._looked = 0.0

    async def publish(self, routes: Sequence[Route]) -> None:
        """Make these the routes: of routers first, so that no port leads where nobody knows of it."""
        await self._routers.publish(routes)
        async with self._lock:
            self._routes = tuple(routes)
            await self._make(self._routes)

    async def present(self, certificate: Certificate, beside: Certificate) -> None:
        """Use these for every TLS connection from now on."""
        await self._routers.present(certificate, beside)

    async def busy_ports(self) -> frozenset[int]:
        """Ports that routers listen on, and those of the nodes that some Service of the cluster has."""
        return await self._routers.busy_ports() | await self._applier.taken()

    def unopened(self) -> Mapping[int, str]:
        """Services' own ports that lead nowhere, and why."""
        return {**self._routers.unopened(), **self._refused}

    async def routed(self) -> frozenset[str]:
        """Names of the replicas that routers may still send requests to."""
        return await self._routers.routed()

    def pending(self) -> frozenset[str]:
        """As routers say."""
        return self._routers.pending()

    def refused(self) -> Mapping[str, str]:
        """As routers say; ports that lead nowhere are `unopened`."""
        return self._routers.refused()

    async def statistics(self) -> Reading | None:
        """What routers counted."""
        return await self._routers.statistics()

    async def copies(self) -> tuple[Copies, ...]:
        """What each mirror was sent."""
        return await self._routers.copies()

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many requests wait for each service that sleeps."""
        return self._routers.waiting

    async def asked(self) -> frozenset[str]:
        """Wait until services are asked for that sleep: which."""
        return await self._routers.asked()

    def members(self) -> Mapping[str, str]:
        """The routers."""
        return self._routers.members()

    def plan(self, route: str) -> tuple[RoutingView, ...]:
        """Routers do all."""
        return self._routers.plan(route)

    async def ensure(self) -> Failure | None:
        """Why routers do not serve; a Service that somebody took away or changed is made again."""
        now = asyncio.get_running_loop().time()
        if self._routes is not None and now - self._looked >= _AGAIN_SECONDS:
            async with self._lock:
                self._looked = now
                await self._look()
        return await self._routers.ensure()

    async def close(self, *, stop: bool) -> None:
        """Let go; what is in the cluster stays, and what was wished is forgotten."""
        self._routes, self._applied, self._refused = None, {}, {}
        await self._routers.close(stop=stop)

    async def _look(self) -> None:
        present = {_name(each): each["spec"].get("ports") or [] for each in await self._applier.ours()}
        for wanted in services(self._routes or (), self._nodes):
            found = [port.get("nodePort") for port in present.get(_name(wanted), ())]
            if found != [port["nodePort"] for port in wanted["spec"]["ports"]]:
                self._applied.pop(_name(wanted), None)
        await self._make(self._routes or ())

    async def _make(self, routes: Sequence[Route]) -> None:
        wanted = list(services(routes, self._nodes))
        # First what goes, as its ports may be another's from now on.
        keep = {_name(each) for each in wanted}
        for each in await self._applier.ours():
            if _name(each) not in keep:
                await self._applier.delete(each)
                self._applied.pop(_name(each), None)
        refused = _outside(routes, self._nodes)
        for each in wanted:
            why = await self._apply(each)
            refused |= {port["nodePort"]: why for port in each["spec"]["ports"] if why}
        self._refused = refused

    async def _apply(self, manifest: Manifest) -> str:
        """Have a Service be there; why the cluster does not take it."""
        text = json.dumps(manifest, sort_keys=True)
        if self._applied.get(_name(manifest)) == text:
            return ""
        try:
            await self._applier.apply(manifest)
        except Invalid as error:
            log.warning("a service's own ports are refused", extra={"why": error.message})
            return f"the cluster does not open it on its nodes: {error.message}"
        self._applied[_name(manifest)] = text
        return ""


def _outside(routes: Iterable[Route], nodes: Nodes) -> dict[int, str]:
    """Ports that no node opens, given before the range was another one."""
    first, last = nodes.ports.start, nodes.ports.stop - 1
    why = (
        f"is not in the cluster's range of node ports, {first}-{last}; undeploy the service and deploy it "
        "anew, which gives it another"
    )
    return {port: f"port {port} {why}" for route in routes for port in route.ports if port not in nodes.ports}


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])
