"""Requests travel by what is published: through a gateway of the cluster, to Services and to the router."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelyard.backends.kubernetes.routing import RoutingObjects
from modelyard.domain.endpoint import Mirror, Pin, Route, Share, Target
from modelyard.gateway.gateway_api.publishing import GatewayApi
from modelyard.gateway.gateway_api.site import Offer, Site
from tests.gateway.test_gateway_api import ROUTER, a_site, served
from tests.kubernetes.doors import SYSTEM, TEAM, Doors, opened
from tests.support.gateway import MemoryGateway
from tests.support.patience import PATIENCE

OWN = "vision/demo"
HOST, CALLS = "demo.vision.service.localhost", "demo-grpc.vision.service.localhost"
PAUSE = 1.6


@dataclass
class OnThePath:
    """Our gateway on a cluster whose gateways serve; revisions 7 and 8 of a service, its shadow, a router."""

    doors: Doors
    name: str
    direct: bool = True
    gateway: GatewayApi = field(init=False)

    def __post_init__(self) -> None:
        self.gateway = GatewayApi(
            site=self.site,
            applier=RoutingObjects(self.doors.client, SYSTEM),
            router=MemoryGateway(),
            clock=time.monotonic,
        )

    async def site(self) -> Site:
        features = await RoutingObjects(self.doors.client, SYSTEM).offered(self.name) or frozenset()
        offer = Offer(
            gateway_class=self.name, features=features, router=ROUTER, router_second=81, direct=self.direct
        )
        return a_site(offer, pause_seconds=PAUSE)

    def of(self, revision: int, weight: int = 100, service: str = OWN) -> Share:
        """A share with one replica."""
        name = f"{service.partition('/')[2]}-r{revision}"
        address = self.doors.upstreams[name].address
        target = Target(replica=f"{service}-{revision}", address=address, revision=revision)
        return Share(name=f"{service}#{revision}", targets=(target,), weight=weight)

    async def publish(self, *routes: Route) -> None:
        """Publish, and wait until it is effective."""
        await self.gateway.publish(routes)
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.gateway.routed()
                if not self.gateway.pending():
                    break
                await asyncio.sleep(0.05)
        await self.doors.settled()


@asynccontextmanager
async def on_the_path(path: Path, name: str = "envoy") -> AsyncIterator[OnThePath]:
    async with opened(path, name) as doors:
        for revision in (7, 8):
            await doors.backend(f"demo-r{revision}")
        await doors.backend("other-r1")
        await doors.backend("shadow-r3")
        await doors.backend(ROUTER.name, SYSTEM, port=ROUTER.port)
        yield OnThePath(doors, name)


async def test_a_host_leads_to_the_replicas_over_http_and_grpc_and_all_else_to_the_router(
    tmp_path: Path,
) -> None:
    async with on_the_path(tmp_path) as here:
        await here.publish(served(OWN, here.of(7)))
        doors = here.doors
        answer = (await doors.ask(HOST, "/v2/models/demo/infer", {"authorization": "Bearer x"})).json()
        assert answer["replica"] == "demo-r7"
        assert answer["headers"]["x-modelyard-alias"] == "demo"
        assert "authorization" not in answer["headers"], "nobody behind the gateway is to know it"
        assert await doors.who("elsewhere.example.com", "/api/v1/system") == ROUTER.name
        assert await doors.who("x", "/services/vision/demo/v2") == ROUTER.name
        async with httpx2.AsyncClient(http2=True, http1=False, trust_env=False) as http:
            headers = {"host": CALLS, "content-type": "application/grpc"}
            url = f"http://{doors.door()}/inference.GRPCInferenceService/ModelInfer"
            assert (await http.post(url, headers=headers)).json()["replica"] == "demo-r7"


async def test_a_canary_gets_its_part_a_pin_its_revision_and_a_shadow_its_copies(tmp_path: Path) -> None:
    async with on_the_path(tmp_path) as here:
        route = served(
            OWN, here.of(7, 80), here.of(8, 20),
            pins=(Pin(share=f"{OWN}#8", value="r8", header="x-arm"),),
            mirrors=(Mirror(share=here.of(3, service="vision/shadow"), percent=50),),
        )  # fmt: skip
        await here.publish(route)
        counted = await here.doors.counted(HOST, 400)
        assert counted.keys() == {"demo-r7", "demo-r8"}
        assert 40 <= counted["demo-r8"] <= 130
        assert {await here.doors.who(HOST, headers={"x-arm": "r8"}) for _ in range(10)} == {"demo-r8"}
        assert 140 <= len(here.doors.upstreams["shadow-r3"].seen) <= 260


async def test_who_takes_a_host_over_has_it_without_a_lost_request(tmp_path: Path) -> None:
    async with on_the_path(tmp_path) as here:
        one, other = served(OWN, here.of(7)), served("vision/other", here.of(1, service="vision/other"))
        await here.publish(one, replace(other, hosted=False))
        here.doors.plane.lag = 1.0
        asking = asyncio.create_task(_ask_until(here.doors, HOST, "other-r1", 50))
        taken = replace(other, addresses=one.addresses, former=("demo",))
        await here.gateway.publish([replace(one, hosted=False), taken])
        async with asyncio.timeout(PATIENCE):
            while here.gateway.pending():
                await asyncio.sleep(0.05)
                await here.gateway.routed()
        await _leaves(here.doors, "demo-r7")  # who had it goes offline at once
        counted = await asking
        assert counted["failed"] == 0
        alias = (await here.doors.ask(HOST)).json()["headers"]["x-modelyard-alias"]
        assert alias == "other,demo"


@pytest.mark.parametrize(("lag", "hesitation"), [(0.0, 0.0), (1.2, 0.5)])
async def test_promotion_and_rollback_lose_nothing_however_slow_the_gateway_is(
    tmp_path: Path, lag: float, hesitation: float
) -> None:
    async with on_the_path(tmp_path) as here:
        await here.publish(served(OWN, here.of(7)))
        here.doors.plane.lag, here.doors.plane.hesitation = lag, hesitation
        stop, counted = asyncio.Event(), Counter[str]()
        asking = [asyncio.create_task(_ask(here.doors, HOST, stop, counted)) for _ in range(2)]
        for old, new in ((7, 8), (8, 7)):
            # As a control plane does it: the old one's pod leaves its Service when nobody relies on it.
            for share in ((here.of(old, 50), here.of(new, 50)), (here.of(new),)):
                await here.gateway.publish([served(OWN, *share)])
                await _until_effective(here.gateway, {target.replica for s in share for target in s.targets})
            await _leaves(here.doors, f"demo-r{old}")
            await asyncio.sleep(0.3)
            await _comes(here.doors, f"demo-r{old}")
        stop.set()
        await asyncio.gather(*asking)
        assert counted["failed"] == 0
        assert counted["demo-r7"] > 0
        assert counted["demo-r8"] > 0


async def test_to_the_router_and_back_loses_nothing(tmp_path: Path) -> None:
    async with on_the_path(tmp_path) as here:
        here.doors.plane.lag = 0.3
        route = served(OWN, here.of(7))
        await here.publish(route)
        stop, counted = asyncio.Event(), Counter[str]()
        asking = asyncio.create_task(_ask(here.doors, HOST, stop, counted))
        for changed in (replace(route, public=False), route, replace(route, public=False)):
            await here.publish(changed)
            await asyncio.sleep(0.2)
        assert await here.doors.who(HOST) == ROUTER.name
        stop.set()
        await asking
        assert counted.keys() == {"demo-r7", ROUTER.name}


@pytest.mark.parametrize(
    ("name", "mirrors", "straight"),
    [("envoy", True, True), ("nginx", True, True), ("traefik", True, False), ("traefik", False, True)],
)
async def test_what_a_class_cannot_do_goes_by_the_router_as_the_plan_says(
    tmp_path: Path, name: str, mirrors: bool, straight: bool
) -> None:
    async with on_the_path(tmp_path, name) as here:
        copies = (Mirror(share=here.of(3, service="vision/shadow"), percent=100),) if mirrors else ()
        route = served(OWN, here.of(7, 50), here.of(8, 50), mirrors=copies)
        await here.publish(route)
        planned = {each.feature: each.where for each in here.gateway.plan(OWN)}
        assert planned["weights"] == ("gateway" if straight else "builtin router")
        if mirrors:
            assert planned["mirror"] == planned["weights"]
        assert planned["gRPC"] == {"traefik": "not available" if straight else "builtin router"}.get(
            name, "gateway"
        )
        if name != "envoy" and straight:
            assert planned["time-out"] == "not available"
        counted = await here.doors.counted(HOST, 60)
        assert counted.keys() == ({"demo-r7", "demo-r8"} if straight else {ROUTER.name})
        assert here.gateway.refused() == {}


async def test_a_service_without_a_replica_that_its_service_knows_is_the_routers(tmp_path: Path) -> None:
    async with on_the_path(tmp_path) as here:
        await _leaves(here.doors, "demo-r7")
        await here.publish(served(OWN, here.of(7)))
        assert await here.doors.who(HOST) == ROUTER.name
        await _comes(here.doors, "demo-r7")
        await _until(lambda: here.doors.who(HOST), "demo-r7", here.gateway)


async def _until(ask: Callable[[], Any], wanted: str, gateway: GatewayApi) -> None:
    async with asyncio.timeout(PATIENCE):
        while await ask() != wanted:
            await gateway.routed()
            await asyncio.sleep(0.05)


async def _until_effective(gateway: GatewayApi, replicas: set[str]) -> None:
    """As the control plane waits: all are led to for certain, and nobody else may be."""
    async with asyncio.timeout(PATIENCE):
        while await gateway.routed() - {f"{OWN}-7", f"{OWN}-8"} or gateway.pending():
            await asyncio.sleep(0.05)
        while (await gateway.routed()) & {f"{OWN}-7", f"{OWN}-8"} != replicas:
            await asyncio.sleep(0.05)


async def _ask(doors: Doors, host: str, stop: asyncio.Event, counted: Counter[str]) -> None:
    while not stop.is_set():
        counted.update(await doors.counted(host, 20))


async def _ask_until(doors: Doors, host: str, whom: str, times: int) -> Counter[str]:
    counted = Counter[str]()
    async with asyncio.timeout(PATIENCE):
        while counted[whom] < times:
            counted.update(await doors.counted(host, 20))
    return counted


async def _leaves(doors: Doors, name: str) -> None:
    _say(doors, name, ready=False)


async def _comes(doors: Doors, name: str) -> None:
    _say(doors, name, ready=True)


def _say(doors: Doors, name: str, *, ready: bool) -> None:
    cluster = doors.there.cluster
    found = cluster.store.get(cluster.kind("EndpointSlice"), (TEAM, f"{name}-slice"))
    assert found is not None
    endpoints = [{**each, "conditions": {"ready": ready}} for each in found["endpoints"]]
    doors.plane.hand.change(found, {"endpoints": endpoints})
