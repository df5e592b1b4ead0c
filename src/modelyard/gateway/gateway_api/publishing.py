"""Keeps a gateway of the cluster at our routes, beside the builtin router where there is one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from modelyard.domain.deployment import Failure
from modelyard.domain.endpoint import Route, RoutingView, Share, Target
from modelyard.domain.errors import ModelyardError
from modelyard.domain.tallies import Reading
from modelyard.gateway.base import Certificate, Copies, Gateway
from modelyard.gateway.gateway_api import planning, rendering, rules, settling
from modelyard.gateway.gateway_api.hosts import with_aliases
from modelyard.gateway.gateway_api.settling import Endpoints, Named, Way, condition, contains
from modelyard.gateway.gateway_api.site import ROUTE, Manifest, Site

log = logging.getLogger(__name__)

_FAILURE = "GatewayUnavailable"
_EXAMINE_SECONDS = 5.0
"""So often it is looked whether everything is as it was told, which takes a list of each kind."""
_FAILING_SECONDS = 1.5
"""The same while something is amiss."""
_PATIENCE_SECONDS = 5.0
"""So long whoever asks who is reached waits for the cluster; then what was known last holds."""


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

    async def endpoints(self, services: Collection[tuple[str, str]]) -> Endpoints:
        """Which addresses behind these Services are ready, as whoever routes to them is told."""


class GatewayApi:
    """The gateway of a cluster: hosts, TLS and load balancing are its own; what it cannot, the router does.

    `router` is told all routes, so that a service may be led to it at any moment; None where there is none.
    `clock` gives seconds that only grow.
    """

    def __init__(
        self,
        *,
        site: Callable[[], Awaitable[Site]],
        applier: Applier,
        router: Gateway | None,
        clock: Callable[[], float],
    ) -> None:
        self._site_of, self._applier, self._router, self._clock = site, applier, router, clock
        self._lock = asyncio.Lock()
        self._routes: tuple[Route, ...] | None = None
        self._applied: dict[tuple[str, str, str], str] = {}
        self._ways: dict[str, Way] = {}
        self._wanted: Sequence[Manifest] = ()
        self._endpoints: Endpoints = {}
        self._found: Mapping[Named, Manifest] = {}
        """What a control plane before this one left."""
        self._looked_at = 0.0
        self._examined_at = float("-inf")
        self._failure: Failure | None = None
        """What was amiss then."""
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
            self._examined_at = float("-inf")
            named = with_aliases(sorted(routes, key=lambda route: route.name))
            if self._router is not None:  # also where the cluster cannot be asked what its gateway is
                await self._router.publish(named)
            site = self._site = await self._site_of()
            self._missing = _missing_ports(named, site)
            if self._routes is None:
                self._found = await self._present()
            self._routes = tuple(routes)
            wanted = await self._tell(named, site)
            await self._prune(wanted)
            self._see(await self._present())

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
        # Whoever publishes or looks already may wait long for the cluster; the ways are always whole.
        if not self._lock.locked():
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS), self._lock:
                    await self._follow()
            except (ModelyardError, TimeoutError) as error:  # then nobody is relied on early
                log.warning("the cluster's gateway cannot be looked at", extra={"error": str(error)})
        ways = self._ways.values()
        return found.union(*(name for way in ways for name in (way.before, _reached(way))))

    def pending(self) -> frozenset[str]:
        """Replicas that the gateway does not lead requests to yet, though the routes say so."""
        return frozenset().union(*(way.pending for way in self._ways.values()))

    def refused(self) -> Mapping[str, str]:
        """Services whose routes the cluster's gateway does not take up, and why in its words."""
        return {name: way.refusal for name, way in self._ways.items() if way.refusal}

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
        pause = _EXAMINE_SECONDS if self._failure is None else _FAILING_SECONDS
        if 0 <= self._clock() - self._examined_at < pause:
            return self._failure
        async with self._lock:
            try:
                self._failure = await self._look()
            except ModelyardError as error:
                why = f"the cluster's gateway cannot be looked at: {error.message}"
                self._failure = Failure(reason=_FAILURE, message=why)
            self._examined_at = self._clock()
        return self._failure

    async def close(self, *, stop: bool) -> None:
        """Let go; what is in the cluster stays, and what was wished is forgotten."""
        self._routes, self._site, self._failure = None, None, None
        self._wanted, self._endpoints, self._found = (), {}, {}
        self._applied, self._ways, self._missing = {}, {}, {}
        self._looked_at, self._examined_at = 0.0, float("-inf")
        if self._router is not None:
            await self._router.close(stop=stop)

    async def _look(self) -> Failure | None:
        await self._follow()
        present = await self._present()
        if self._routes is not None and self._site is not None:
            for manifest in self._wanted:
                found = present.get(_named(manifest))
                if found is None or not contains(found.get("spec"), manifest.get("spec")):
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

    async def _tell(self, named: Sequence[Route], site: Site) -> Sequence[Manifest]:
        """Apply what these routes want, with whom the Services know already; all that should be there."""
        straight = [each for each in named if planning.straight(each, site.offer)]
        services = frozenset(each for route in straight for each in rendering.services(route, site))
        self._endpoints = await self._applier.endpoints(services) if services else {}
        known = [self._visible(each, site) if each in straight else each for each in named]
        wanted = self._wanted = rendering.objects(known, site)
        self._expect(named, known, site)
        for manifest in wanted:
            await self._apply(manifest)
        return wanted

    def _visible(self, route: Route, site: Site) -> Route:
        """The route without replicas that their Services do not know yet, as these would be no answer."""
        taken = self._ways[route.name].taken if route.name in self._ways else frozenset[str]()

        def is_known(share: Share, target: Target) -> bool:
            ready = self._endpoints.get(rules.service(share, target.revision, site), frozenset())
            return target.replica in taken or _host(target.address) in ready

        def known(share: Share) -> Share:
            return replace(share, targets=tuple(each for each in share.targets if is_known(share, each)))

        mirrors = tuple(replace(each, share=known(each.share)) for each in route.mirrors)
        return replace(route, shares=tuple(known(each) for each in route.shares), mirrors=mirrors)

    def _expect(self, named: Sequence[Route], known: Sequence[Route], site: Site) -> None:
        """Know whom the gateway may send to, and on whom nobody may rely, until it has taken this up."""
        specs: dict[str, dict[Named, object]] = {}
        for each in self._wanted:
            name = each["metadata"].get("annotations", {}).get(ROUTE)
            if name and each["kind"] != "Service":
                specs.setdefault(name, {})[_named(each)] = each["spec"]
        now, held = self._clock(), self._held()
        for whole, part in zip(named, known, strict=True):
            own = specs.get(whole.name, {})
            wanted = Way(
                straight=bool(own) and rendering.leads_straight(part, site),
                replicas={target.replica: _host(target.address) for target in whole.targets},
                withheld=part.targets != whole.targets,
                objects=own,
                past=any(held.get(name, whole.name) != whole.name for name in own)
                or (whole.name not in self._ways and self._differs(own)),
            )
            self._ways[whole.name] = settling.led(self._ways.get(whole.name), wanted, now=now)
        for name in self._ways.keys() - {route.name for route in named}:
            # What is no more is looked for no more: its routes are gone before this returns.
            gone = Way(straight=False, replicas={})
            self._ways[name] = settling.led(self._ways[name], gone, now=now)

    def _held(self) -> dict[Named, str]:
        """Routes by which requests go straight, or may, to the service that has each."""
        return {
            each: name for name, way in self._ways.items() if way.straight or way.past for each in way.objects
        }

    def _differs(self, specs: Mapping[Named, object]) -> bool:
        """Whether a control plane before this one led a service by another way."""
        found = {name: self._found[name].get("spec") for name in specs if name in self._found}
        return any(not contains(spec, specs[name]) for name, spec in found.items())

    async def _follow(self) -> None:
        """Look again at what is not taken up yet, and tell more where more is known of it."""
        pause = settling.pause_before_look(self._ways.values(), now=self._clock())
        if pause is None or self._clock() - self._looked_at < pause or self._routes is None:
            return
        if self._site is not None and any(w.withheld or w.straight for w in self._ways.values()):
            await self._tell(with_aliases(sorted(self._routes, key=lambda r: r.name)), self._site)
        self._see(await self._present())

    async def _present(self) -> dict[Named, Manifest]:
        return {_named(each): each for each in await self._applier.ours()}

    def _see(self, present: Mapping[Named, Manifest]) -> None:
        """See how far the gateway is."""
        if self._site is None:  # whoever looked let go meanwhile
            return
        now = self._looked_at = self._clock()
        for name, way in list(self._ways.items()):
            if not way.settled:
                pause = self._site.pause_seconds
                way = settling.seen(way, present, self._endpoints, now=now, pause=pause)
            self._ways[name] = way
            if way.settled and not way.replicas and not way.objects:
                del self._ways[name]


def _reached(way: Way) -> frozenset[str]:
    """Replicas that the gateway leads to by itself; the router says of its own."""
    return frozenset(way.replicas) if way.straight or way.past else frozenset()


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _unprogrammed(gateway: Manifest) -> str:
    """Why the gateway does not work yet; empty when it does."""
    status = gateway.get("status") or {}
    generation = gateway["metadata"].get("generation", 0)
    if condition(status, "Programmed", generation)[0] == "True":
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


def _named(manifest: Manifest) -> Named:
    return manifest["kind"], f"{manifest['metadata'].get('namespace', '')}/{manifest['metadata']['name']}"
