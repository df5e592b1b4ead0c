"""A gateway of the cluster is kept at our routes: the API takes them, a controller too, old ones go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster as Client
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.routing import RoutingObjects
from modelyard.domain.endpoint import Mirror, Pin
from modelyard.gateway.base import Certificate
from modelyard.gateway.gateway_api.publishing import GatewayApi
from modelyard.gateway.gateway_api.site import Offer, Site
from tests.gateway.test_gateway_api import ROUTER, a_site, served, some
from tests.support.cluster import crds, gateways, schemas
from tests.support.cluster.control import Control
from tests.support.cluster.running import serving
from tests.support.cluster.verbs import Cluster, Options
from tests.support.gateway import MemoryGateway

SYSTEM, TEAM = "modelyard-system", "modelyard-vision"


@dataclass
class World:
    """A cluster with a gateway implementation, and our gateway on it."""

    cluster: Cluster
    control: Control
    client: Client
    router: MemoryGateway
    name: str
    direct: bool = True

    @property
    def objects(self) -> RoutingObjects:
        return RoutingObjects(self.client, SYSTEM)

    async def site(self) -> Site:
        features = await self.objects.offered(self.name) or frozenset()
        offer = Offer(
            gateway_class=self.name, features=features, router=ROUTER, router_second=81,
            router_selector={"app.kubernetes.io/component": "router"}, direct=self.direct,
        )  # fmt: skip
        return a_site(
            offer, https_port=443, second_port=8080, certificates=("front-door", "front-door-beside")
        )

    def gateway(self) -> GatewayApi:
        return GatewayApi(site=self.site, applier=self.objects, router=self.router)

    def create(self, kind: str, name: str, spec: Any = None, namespace: str = "") -> None:
        value = {"metadata": {"name": name}, **({"spec": spec} if spec else {})}
        self.cluster.create(self.cluster.kind(kind), namespace, value, Options(manager="test"))

    async def routes(self) -> dict[str, dict[str, Any]]:
        found = await self.client.list(kinds.HTTP_ROUTE, namespace=SYSTEM)
        return {each["metadata"]["name"]: each for each in found.items}


@asynccontextmanager
async def a_world(name: str) -> AsyncIterator[World]:
    made = Cluster(
        schemas.load(schemas.VERSIONS[-1], crds.GATEWAY_API),
        clock=time.time,
        extra=[each for each, _ in crds.GATEWAY_API],
    )
    async with serving(made) as running:
        client = Client(Access(server=running.url), clock=time.time)
        world = World(made, Control(made), client, MemoryGateway(), name)
        world.create("GatewayClass", name, {"controllerName": gateways.IMPLEMENTATIONS[name].controller})
        for namespace in (SYSTEM, TEAM):
            world.create("Namespace", namespace)
        for number in (7, 8):
            world.create("Service", f"demo-r{number}", {"ports": [{"port": 80}]}, TEAM)
        world.create("Service", "shadow-r3", {"ports": [{"port": 80}]}, TEAM)
        ports = [{"name": "http", "port": 80}, {"name": "second", "port": 81}]
        world.create("Service", ROUTER.name, {"ports": ports}, SYSTEM)
        world.control.settle()
        yield world
        await client.close()


OWN = "vision/demo"
EVERYTHING = served(
    OWN,
    some(f"{OWN}#7", 7, 2, 90),
    some(f"{OWN}#8", 8, 1, 10),
    pins=(Pin(share=f"{OWN}#8", value="r8", header="x-arm"),),
    mirrors=(Mirror(share=some("vision/shadow", 3, 1), percent=20),),
    ports=(30010, 30011),
)


def said(value: dict[str, Any], kind: str) -> set[tuple[str, str]]:
    conditions = [c for parent in value["status"]["parents"] for c in parent["conditions"]]
    return {(c["status"], c["reason"]) for c in conditions if c["type"] == kind}


@pytest.mark.parametrize("name", sorted(gateways.IMPLEMENTATIONS))
@pytest.mark.parametrize("direct", [True, False])
async def test_every_implementation_accepts_what_is_published_and_finds_whom_it_leads_to(
    name: str, direct: bool
) -> None:
    async with a_world(name) as world:
        world.direct = direct
        gateway = world.gateway()
        certificate = Certificate(chain="a chain", key="a key")
        await gateway.present(certificate, certificate)
        await gateway.publish([EVERYTHING, served("default/plain", public=False)])
        world.control.settle()
        assert await gateway.ensure() is None
        found = [*(await world.routes()).values(), *(await world.client.list(kinds.GRPC_ROUTE)).items]
        assert len(found) >= 5
        for each in found:
            assert said(each, "Accepted") == {("True", "Accepted")}, each
            assert said(each, "ResolvedRefs") == {("True", "ResolvedRefs")}, each
        (door,) = (await world.client.list(kinds.GATEWAY)).items
        assert all(
            condition["status"] == "True"
            for listener in door["status"]["listeners"] for condition in listener["conditions"]
        )  # fmt: skip
        assert {route.name for route in world.router.published} == {OWN, "default/plain"}


async def test_what_is_not_wanted_any_more_goes_and_other_peoples_objects_stay() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([EVERYTHING])
        other = {"parentRefs": [{"name": "modelyard"}], "hostnames": ["x.example.com"]}
        world.create("HTTPRoute", "other", other, SYSTEM)
        assert any(name.startswith("host-demo") for name in await world.routes())
        later = world.gateway()  # another control plane
        await later.publish([])
        names = set(await world.routes())
        assert names == {"other", "front-door"}
        assert not (await world.client.list(kinds.REFERENCE_GRANT)).items
        services = {
            each["metadata"]["name"]
            for each in (await world.client.list(kinds.SERVICE, namespace=SYSTEM)).items
        }
        assert services == {ROUTER.name}


async def test_replicas_of_before_count_until_the_gateway_has_taken_up_the_new_route() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        before, after = served(OWN, some(f"{OWN}#7", 7, 1)), served(OWN, some(f"{OWN}#8", 8, 1))
        await gateway.publish([before])
        world.control.settle()
        world.router.applied = ()
        assert await gateway.routed() == {f"{OWN}#7-7-0"}
        await gateway.publish([after])
        world.router.applied = ()
        assert await gateway.routed() == {f"{OWN}#7-7-0", f"{OWN}#8-8-0"}
        world.control.settle()
        assert await gateway.routed() == {f"{OWN}#8-8-0"}
        await gateway.publish([replace(after, public=False)])  # now the router judges who comes in
        world.control.settle()
        assert await gateway.routed() == {f"{OWN}#8-8-0"}
        world.router.applied = ()
        assert await gateway.routed() == frozenset()


async def test_equal_routes_write_nothing_and_what_somebody_changed_is_made_again() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([EVERYTHING])
        world.control.settle()
        await gateway.ensure()
        version = world.cluster.store.version
        await gateway.publish([EVERYTHING])
        await gateway.ensure()
        assert world.cluster.store.version == version
        (name,) = [n for n in await world.routes() if n.startswith("host-demo")]
        await world.client.delete(kinds.HTTP_ROUTE, name, namespace=SYSTEM)
        patch = {"spec": {"rules": [{"backendRefs": [{"name": "evil", "port": 80}]}]}}
        await world.client.patch(kinds.HTTP_ROUTE, "front-door", patch, namespace=SYSTEM)
        await gateway.ensure()
        found = await world.routes()
        assert name in found
        assert found["front-door"]["spec"]["rules"][0]["backendRefs"][0]["name"] == ROUTER.name


async def test_a_class_that_nobody_looks_after_is_said_to_be_so() -> None:
    async with a_world("envoy") as world:
        world.name = "nobodys"
        gateway = world.gateway()
        await gateway.publish([served()])
        world.control.settle()
        failure = await gateway.ensure()
        assert failure is not None
        assert "nobody looks after GatewayClass nobodys" in failure.message
        assert not [
            each for each in gateway.plan("vision/demo") if not each.reason and each.where != "gateway"
        ]


async def test_ports_that_nodes_do_not_open_are_said_of_the_service() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([served(ports=(9000,))])
        assert "gateway.port_base" in gateway.unopened()[9000]


async def test_whoever_asks_at_the_router_is_heard() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        world.router.knock("vision/demo", 3)
        assert await asyncio.wait_for(gateway.asked(), 5) == {"vision/demo"}
        assert gateway.waiting == {"vision/demo": 3}
