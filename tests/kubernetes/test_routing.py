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
from modelyard.domain.errors import ModelyardError
from modelyard.gateway.base import Certificate
from modelyard.gateway.gateway_api import publishing
from modelyard.gateway.gateway_api.publishing import GatewayApi
from modelyard.gateway.gateway_api.site import Offer, Site
from tests.gateway.test_gateway_api import ROUTER, a_site, served, some
from tests.support.cluster import crds, gateways, schemas
from tests.support.cluster.control import Accepting, Control
from tests.support.cluster.faults import Hang, Status
from tests.support.cluster.running import serving
from tests.support.cluster.server import Server
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import Hand
from tests.support.gateway import MemoryGateway
from tests.support.patience import PATIENCE

SYSTEM, TEAM = "modelyard-system", "modelyard-vision"


@dataclass
class World:
    """A cluster with a gateway implementation, and our gateway on it."""

    cluster: Cluster
    control: Control
    client: Client
    router: MemoryGateway
    name: str
    server: Server
    direct: bool = True
    now: float = 1000.0

    def clock(self) -> float:
        return self.now

    def knows(self, service: str, *numbers: int) -> None:
        """The cluster's EndpointSlice of one of the team's Services."""
        revision = int(service.rpartition("-r")[2])
        cluster, name = self.cluster, (TEAM, f"{service}-slice")
        if cluster.store.get(cluster.kind("EndpointSlice"), name) is None:
            metadata = {"name": name[1], "labels": {"kubernetes.io/service-name": service}}
            value = {"metadata": metadata, "addressType": "IPv4", "endpoints": []}
            cluster.create(cluster.kind("EndpointSlice"), TEAM, value, Options(manager="test"))
        found = cluster.store.get(cluster.kind("EndpointSlice"), name)
        assert found is not None
        ready = [
            {"addresses": [f"10.0.{revision}.{number}"], "conditions": {"ready": True}} for number in numbers
        ]
        Hand(cluster, "test").change(found, {"endpoints": ready})

    @property
    def requests(self) -> int:
        """How many there were at the API server."""
        return len(self.server.requests)

    async def look(self, gateway: GatewayApi, seconds: float = 0.5) -> set[str]:
        """Whom it says that requests may go to, some time later."""
        self.now += seconds
        self.router.applied = ()
        return set(await gateway.routed())

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
        return GatewayApi(site=self.site, applier=self.objects, router=self.router, clock=self.clock)

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
        world = World(made, Control(made), client, MemoryGateway(), name, running.server)
        world.create("GatewayClass", name, {"controllerName": gateways.IMPLEMENTATIONS[name].controller})
        for namespace in (SYSTEM, TEAM):
            world.create("Namespace", namespace)
        for number in (7, 8):
            world.create("Service", f"demo-r{number}", {"ports": [{"port": 80}]}, TEAM)
            world.knows(f"demo-r{number}", 0, 1)
        world.create("Service", "shadow-r3", {"ports": [{"port": 80}]}, TEAM)
        world.knows("shadow-r3", 0)
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


async def test_a_second_installation_beside_it_leaves_its_gateway_routes_and_grants() -> None:
    async with a_world("envoy") as world:
        await world.gateway().publish([EVERYTHING])
        world.create("Namespace", "ml-system")
        ours = RoutingObjects(world.client, SYSTEM)
        before = {(e["kind"], e["metadata"]["name"]) for e in await ours.ours()}
        assert {kind for kind, _ in before} >= {"Gateway", "HTTPRoute", "ReferenceGrant"}

        async def site() -> Site:
            return replace(await world.site(), namespace="ml-system", namespace_of=lambda name: f"ml-{name}")

        theirs = RoutingObjects(world.client, "ml-system")
        beside = GatewayApi(site=site, applier=theirs, router=MemoryGateway(), clock=world.clock)
        await beside.publish([])
        assert {(e["kind"], e["metadata"]["name"]) for e in await ours.ours()} == before
        await world.gateway().publish([EVERYTHING])
        assert {e["metadata"]["namespace"] for e in await theirs.ours()} == {"ml-system"}, "nor the first its"


OLD, NEW = f"{OWN}#7-7-0", f"{OWN}#8-8-0"
BEFORE, AFTER = served(OWN, some(f"{OWN}#7", 7, 1)), served(OWN, some(f"{OWN}#8", 8, 1))
PAUSE = 3.5


async def test_replicas_of_before_count_until_the_gateway_works_by_the_new_route() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([BEFORE])
        assert gateway.pending() == {OLD}
        world.control.settle()
        assert await world.look(gateway) == {OLD}
        assert gateway.pending() == frozenset()
        await gateway.publish([AFTER])
        assert await world.look(gateway) == {OLD, NEW}
        assert gateway.pending() == {NEW}
        world.control.settle()
        assert await world.look(gateway) == {OLD, NEW}, "its proxies may still work by the route before"
        assert gateway.pending() == {NEW}
        assert await world.look(gateway, PAUSE) == {NEW}
        assert gateway.pending() == frozenset()


async def test_what_is_led_to_the_router_is_led_there_before_its_replicas_go() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([AFTER])
        world.control.settle()
        assert await world.look(gateway) == {NEW}
        closed = replace(AFTER, public=False)  # now the router judges who comes in
        await gateway.publish([closed])
        assert await world.look(gateway, PAUSE) == {NEW}
        world.control.settle()
        assert await world.look(gateway) == {NEW}
        assert await world.look(gateway, PAUSE) == set(), "only the router says so"
        another = served(OWN, some(f"{OWN}#7", 7, 1), public=False)
        await gateway.publish([another])
        assert gateway.pending() == frozenset(), "the router was told first"


async def test_a_controller_that_refuses_is_quoted_and_the_old_route_stays() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([BEFORE])
        world.control.settle()
        await world.look(gateway)
        await gateway.publish([AFTER])
        door = world.control.door
        world.control.door = Refusing(door.hand, "this is too much")  # type: ignore[attr-defined]
        world.control.settle()
        await world.look(gateway)
        assert await world.look(gateway, 5) == {OLD, NEW}
        assert gateway.pending() == {NEW}
        assert "UnsupportedValue: this is too much" in gateway.refused()[OWN]
        world.control.door = door
        world.control.settle()
        await world.look(gateway, 5)
        assert gateway.refused() == {}
        assert await world.look(gateway, PAUSE) == {NEW}


async def test_a_controller_that_is_away_is_named_and_asked_for_rarely() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([BEFORE])
        world.control.settle()
        await world.look(gateway)
        await gateway.publish([AFTER])
        assert gateway.refused() == {}
        asked = world.requests
        for _ in range(600):
            assert await world.look(gateway, 0.1) == {OLD, NEW}
        assert "has said nothing" in gateway.refused()[OWN]
        assert gateway.pending() == {NEW}
        looks = 50  # a minute of looks, each a tenth of what it has lasted, in a few requests each
        assert world.requests - asked < looks * 8
        world.control.settle()
        await world.look(gateway, 6)
        assert gateway.refused() == {}
        assert await world.look(gateway, PAUSE) == {NEW}


async def test_nobody_is_led_to_a_replica_that_its_service_does_not_know() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        world.knows("demo-r8")
        await gateway.publish([BEFORE])
        world.control.settle()
        await world.look(gateway)
        both = served(OWN, some(f"{OWN}#7", 7, 1), some(f"{OWN}#8", 8, 1))
        await gateway.publish([both])
        assert await leads_to(world) == {"demo-r7"}
        assert gateway.pending() == {NEW}
        world.knows("demo-r8", 0)
        await world.look(gateway)
        assert await leads_to(world) == {"demo-r7", "demo-r8"}
        world.control.settle()
        await world.look(gateway)
        assert await world.look(gateway, PAUSE) == {OLD, NEW}
        assert gateway.pending() == frozenset()


async def test_one_of_several_goes_at_once_as_it_answers_until_its_service_has_it_no_more() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([served(OWN, some(f"{OWN}#7", 7, 2))])
        world.control.settle()
        assert await world.look(gateway) == {OLD, f"{OWN}#7-7-1"}
        await gateway.publish([BEFORE])
        assert await world.look(gateway, 1) == {OLD}


async def test_a_control_plane_after_another_relies_on_no_route_that_it_changes() -> None:
    async with a_world("envoy") as world:
        first = world.gateway()
        await first.publish([BEFORE])
        world.control.settle()
        later = world.gateway()
        await later.publish([AFTER])
        world.control.settle()
        await world.look(later)
        assert later.pending() == {NEW}
        await world.look(later, PAUSE)
        assert later.pending() == frozenset()
        again = world.gateway()
        await again.publish([AFTER])
        assert again.pending() == frozenset(), "nothing is changed"


async def test_a_control_plane_that_leads_again_knows_nothing_of_what_it_led_before() -> None:
    async with a_world("envoy") as world:
        first, other = world.gateway(), world.gateway()
        for gateway, routes in ((first, BEFORE), (other, AFTER)):
            await gateway.publish([routes])
            for seconds in (0.5, PAUSE):
                world.control.settle()
                await world.look(gateway, seconds)
            assert gateway.pending() == frozenset()
            await gateway.close(stop=False)
            assert await world.look(gateway) == set()
        await first.publish([BEFORE])  # the other way round, and nobody has taken it up
        assert first.pending() == {OLD}
        assert OLD in await world.look(first)


async def test_an_api_server_that_hangs_keeps_nobody_from_hearing_whom_requests_may_go_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "_PATIENCE_SECONDS", 0.2)
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([BEFORE])
        world.control.settle()
        world.server.faults.add(Hang(30), times=1000)
        assert await asyncio.wait_for(world.look(gateway), 3) == {OLD}
        world.now += 5
        looking = asyncio.create_task(gateway.ensure())
        await asyncio.sleep(0.1)
        assert await asyncio.wait_for(world.look(gateway), 3) == {OLD}
        looking.cancel()


async def test_an_api_server_that_does_not_answer_changes_nothing_of_what_is_known() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        await gateway.publish([BEFORE])
        world.control.settle()
        await world.look(gateway)
        await gateway.publish([AFTER])
        world.control.settle()
        world.server.faults.add(Status(500), times=1000)
        assert await world.look(gateway, PAUSE) == {OLD, NEW}
        assert gateway.pending() == {NEW}


async def leads_to(world: World) -> set[str]:
    """Services that the host's route leads to."""
    (found,) = [each for name, each in (await world.routes()).items() if name.startswith("host-demo")]
    return {backend["name"] for rule in found["spec"]["rules"] for backend in rule["backendRefs"]}


class Refusing(Accepting):
    """A controller that takes no route by host up."""

    def __init__(self, hand: Hand, words: str) -> None:
        super().__init__(hand)
        self.words = words

    def step(self, value: dict[str, Any]) -> None:
        if value["kind"] in ("HTTPRoute", "GRPCRoute"):
            gateways.route(self.hand, value, self.words)


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
        before = world.requests
        await gateway.ensure()
        assert world.requests == before, "it was looked at just now"
        world.now += 5
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
        assert await asyncio.wait_for(gateway.asked(), PATIENCE) == {"vision/demo"}
        assert gateway.waiting == {"vision/demo": 3}


async def test_features_are_read_as_older_classes_say_them() -> None:
    class Older:
        async def get(self, kind: kinds.Kind, name: str) -> dict[str, Any]:
            return {"status": {"supportedFeatures": ["HTTPRoute", {"name": "GRPCRoute"}]}}

    assert await RoutingObjects(Older(), SYSTEM).offered("envoy") == {"HTTPRoute", "GRPCRoute"}  # type: ignore[arg-type]


async def test_the_router_hears_of_routes_also_while_nobody_says_what_the_gateway_is() -> None:
    async with a_world("envoy") as world:
        gateway = world.gateway()
        world.server.faults.add(Status(403), times=1000, where=lambda method, path: "gatewayclasses" in path)
        with pytest.raises(ModelyardError):
            await gateway.publish([BEFORE])
        assert [each.name for each in world.router.applied] == [BEFORE.name]
