"""Keeps a gateway of the cluster at our routes, beside the builtin router where there is one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelyard.domain.deployment import Failure
from modelyard.domain.endpoint import Route, RoutingView
from modelyard.domain.errors import ModelyardError
from modelyard.domain.tallies import Reading
from modelyard.gateway.base import Certificate, Copies, Gateway
from modelyard.gateway.gateway_api import planning, rendering
from modelyard.gateway.gateway_api.hosts import with_aliases
from modelyard.gateway.gateway_api.site import ROUTE, Manifest, Site

_FAILURE = "GatewayUnavailable"


class Applier(Protocol):
    """Objects of the cluster's, as far as routing needs them. All may raise Unavailable."""

    async def apply(self, manifest: Manifest) -> None:
        """Have this object be as it is given here, whatever it was."""

    async def delete(self, manifest: Manifest) -> None:
        """Have it be no more; also one that is gone already."""

    async def ours(self) -> Sequence[Manifest]:
        """All that were rendered for routing, as they are now, with their status."""

    async def certify(self, name: str, certificate: Certificate) -> None:
        """Keep a certificate in the Secret of this name, in the platform's namespace."""


@dataclass(slots=True)
class _Straight:
    """A service that is led straight to its replicas."""

    replicas: frozenset[str]
    """Those that it should have."""
    before: frozenset[str]
    """Those that it may still have until the gateway has taken up its route."""
    objects: frozenset[tuple[str, str]]
    """Kind and name of its routes."""


class GatewayApi:
    """The gateway of a cluster: hosts, TLS and load balancing are its own; what it cannot, the router does.

    `router` is told all routes, so that a service may be led to it at any moment; None where there is none.
    """

    def __init__(
        self, *, site: Callable[[], Awaitable[Site]], applier: Applier, router: Gateway | None
    ) -> None:
        self._site_of, self._applier, self._router = site, applier, router
        self._lock = asyncio.Lock()
        self._routes: tuple[Route, ...] | None = None
        self._applied: dict[tuple[str, str, str], str] = {}
        self._straight: dict[str, _Straight] = {}
        self._site: Site | None = None
        self._missing: dict[int, str] = {}

    def members(self) -> Mapping[str, str]:
        """The routers behind the gateway."""
        return self._router.members() if self._router is not None else {}

    def plan(self, route: str) -> tuple[RoutingView, ...]:
        """Who does each thing that a published route needs."""
        found = next((each for each in self._routes or () if each.name == route), None)
        if found is None or self._site is None:
            return ()
        return tuple(
            RoutingView(feature=each.feature.value, where=each.where.value, reason=each.reason)
            for each in planning.plan(found, self._site.offer)
        )

    async def publish(self, routes: Sequence[Route]) -> None:
        """Make these the routes: of the router first, so that nobody is led to one that knows nothing of it.

        Raises Unavailable when router or cluster cannot be told; both are given everything the next time.
        """
        async with self._lock:
            site = self._site = await self._site_of()
            named = with_aliases(sorted(routes, key=lambda route: route.name))
            if self._router is not None:
                await self._router.publish(named)
            wanted = rendering.objects(routes, site)
            self._expect(named, wanted, site)
            self._missing = _missing_ports(named, site)
            for manifest in wanted:
                await self._apply(manifest)
            self._routes = tuple(routes)
            await self._prune(wanted)

    async def present(self, certificate: Certificate, beside: Certificate) -> None:
        """Use these for every TLS connection from now on."""
        if self._router is not None:
            await self._router.present(certificate, beside)
        site = await self._site_of()
        for name, shown in zip(site.certificates, (certificate, beside), strict=False):
            await self._applier.certify(name, shown)

    async def busy_ports(self) -> frozenset[int]:
        """Ports that routers listen on."""
        return await self._router.busy_ports() if self._router is not None else frozenset()

    def unopened(self) -> Mapping[int, str]:
        """Services' own ports that lead nowhere, and why."""
        opened = self._router.unopened() if self._router is not None else {}
        return {**opened, **self._missing}

    async def routed(self) -> frozenset[str]:
        """Names of the replicas that the router, or the gateway itself, may still send requests to."""
        found = await self._router.routed() if self._router is not None else frozenset()
        if not self._straight and self._routes is not None:
            return found
        async with self._lock:
            present = {_named(each): each for each in await self._applier.ours()}
            for name, straight in list(self._straight.items()):
                if all(is_current(present.get(each)) for each in straight.objects):
                    straight.before = frozenset()
                    if not straight.replicas:
                        del self._straight[name]
            return found.union(*(s.replicas | s.before for s in self._straight.values()))

    async def statistics(self) -> Reading | None:
        """What the router counted; what the gateway leads past it is counted by nobody here."""
        return await self._router.statistics() if self._router is not None else None

    async def copies(self) -> tuple[Copies, ...]:
        """What the router's mirrors were sent."""
        return await self._router.copies() if self._router is not None else ()

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many requests wait for each service that sleeps."""
        return self._router.waiting if self._router is not None else {}

    async def asked(self) -> frozenset[str]:
        """Wait until services are asked for that sleep: which."""
        if self._router is None:
            await asyncio.Event().wait()
            return frozenset()
        return await self._router.asked()

    async def ensure(self) -> Failure | None:
        """Why the router or the cluster's gateway does not serve; what somebody took away is made again."""
        failure = await self._router.ensure() if self._router is not None else None
        if failure is not None:
            return failure
        async with self._lock:
            try:
                return await self._look()
            except ModelyardError as error:
                return Failure(
                    reason=_FAILURE, message=f"the cluster's gateway cannot be looked at: {error.message}"
                )

    async def close(self, *, stop: bool) -> None:
        """Let go; what is in the cluster stays."""
        if self._router is not None:
            await self._router.close(stop=stop)

    async def _look(self) -> Failure | None:
        present = {_named(each): each for each in await self._applier.ours()}
        if self._routes is not None and self._site is not None:
            for manifest in rendering.objects(self._routes, self._site):
                found = present.get(_named(manifest))
                if found is None or not _contains(found.get("spec"), manifest.get("spec")):
                    self._applied.pop(_place(manifest), None)
                    await self._apply(manifest)
        gateway = next((each for each in present.values() if each["kind"] == "Gateway"), None)
        if gateway is None:
            return (
                None
                if self._routes is None
                else Failure(reason=_FAILURE, message="the Gateway is being made")
            )
        why = _unprogrammed(gateway)
        return Failure(reason=_FAILURE, message=why) if why else None

    async def _apply(self, manifest: Manifest) -> None:
        text = json.dumps(manifest, sort_keys=True)
        if self._applied.get(_place(manifest)) != text:
            await self._applier.apply(manifest)
            self._applied[_place(manifest)] = text

    async def _prune(self, wanted: Sequence[Manifest]) -> None:
        """Take away what nothing asks for any more, also of a control plane before this one."""
        keep = {_place(manifest) for manifest in wanted}
        for each in await self._applier.ours():
            if _place(each) not in keep:
                await self._applier.delete(each)
                self._applied.pop(_place(each), None)

    def _expect(self, routes: Sequence[Route], wanted: Sequence[Manifest], site: Site) -> None:
        """Know whom the gateway itself may send to until it has taken up what is applied now."""
        of_route: dict[str, set[tuple[str, str]]] = {}
        for each in wanted:
            name = each["metadata"].get("annotations", {}).get(ROUTE)
            if name and each["kind"] != "Service":
                of_route.setdefault(name, set()).add(_named(each))
        fresh = {
            route.name: frozenset(target.replica for target in route.targets)
            for route in routes
            if rendering.leads_straight(route, site) and route.name in of_route
        }
        for name in fresh.keys() | self._straight.keys():
            known = self._straight.get(name, _Straight(frozenset(), frozenset(), frozenset()))
            self._straight[name] = _Straight(
                replicas=fresh.get(name, frozenset()),
                before=known.before | known.replicas,
                objects=frozenset(of_route.get(name, ())),
            )


def is_current(manifest: Manifest | None) -> bool:
    """Whether every gateway that a route names has taken it up as it is; one that is gone is."""
    if manifest is None:
        return True
    parents = (manifest.get("status") or {}).get("parents", [])
    generation = manifest["metadata"].get("generation", 0)
    named = len(manifest["spec"].get("parentRefs", []))
    return len(parents) >= named and all(
        _condition(parent, "Accepted", generation) == "True" for parent in parents
    )


def _condition(status: Mapping[str, object], kind: str, generation: int) -> str:
    conditions = status.get("conditions")
    for each in conditions if isinstance(conditions, list) else []:
        if each["type"] == kind and each.get("observedGeneration", 0) >= generation:
            return str(each["status"])
    return ""


def _unprogrammed(gateway: Manifest) -> str:
    """Why the gateway does not work yet; empty when it does."""
    status = gateway.get("status") or {}
    generation = gateway["metadata"].get("generation", 0)
    if _condition(status, "Programmed", generation) == "True":
        return ""
    said = [
        f"{each['type']}: {each.get('message') or each.get('reason')}"
        for each in status.get("conditions", [])
        if each.get("status") == "False"
    ]
    name = gateway["spec"]["gatewayClassName"]
    nobody = f"nobody looks after GatewayClass {name}; is its controller installed?"
    return f"the cluster's gateway is not programmed: {'; '.join(said) or nobody}"


def _missing_ports(routes: Sequence[Route], site: Site) -> dict[int, str]:
    found: dict[int, str] = {}
    for route in routes:
        for decision in planning.plan(route, site.offer):
            if decision.feature is planning.Feature.OWN_PORTS and decision.where is planning.Where.NOBODY:
                found |= dict.fromkeys(route.ports, decision.reason)
    return found


def _place(manifest: Manifest) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


def _named(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], f"{manifest['metadata'].get('namespace', '')}/{manifest['metadata']['name']}"


def _contains(found: object, wanted: object) -> bool:
    """Whether all that is wanted is there; the cluster adds defaults."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_contains(found.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_contains(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return found == wanted
