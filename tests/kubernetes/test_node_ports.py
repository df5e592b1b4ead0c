"""Services' own ports on the nodes of a cluster: what is made for them, refused, mended and taken away."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster as Client
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.node_ports import OWN_PORTS, NodePortObjects
from modelyard.composing import doors
from modelyard.domain.errors import Invalid
from modelyard.gateway import node_ports
from modelyard.gateway.node_ports import NodePorts, Nodes
from modelyard.settings import Backend, Gateway, Kubernetes, Settings
from tests.gateway.test_gateway_api import served
from tests.support.cluster.running import running
from tests.support.gateway import MemoryGateway

SYSTEM = "modelyard-system"
NODES = Nodes(namespace=SYSTEM, selector={"app.kubernetes.io/component": "router"})


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running() as there:
        found = Client(Access(server=there.url), clock=time.time)
        await found.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}, manager="test"
        )
        yield found
        await found.close()


@pytest.fixture
def routers() -> MemoryGateway:
    return MemoryGateway()


@pytest.fixture
def gateway(client: Client, routers: MemoryGateway) -> NodePorts:
    return NodePorts(routers, NodePortObjects(client, SYSTEM), NODES)


async def made(client: Client) -> dict[str, list[int]]:
    """Services with ports of the nodes: whose they are, and which."""
    found = (await client.list(kinds.SERVICE, namespace=SYSTEM, labels=f"{OWN_PORTS}=true")).items
    return {
        each["metadata"]["annotations"]["modelyard.dev/route"]: [p["nodePort"] for p in each["spec"]["ports"]]
        for each in found
    }


async def foreign(client: Client, name: str, port: int) -> None:
    spec = {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80, "nodePort": port}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}}
    await client.create({**service, "spec": spec})


async def test_each_service_with_ports_has_a_service_that_leads_to_the_routers(
    client: Client, gateway: NodePorts, routers: MemoryGateway
) -> None:
    routes = [
        served("vision/a", ports=(30010, 30011)),
        served("vision/b"),
        served("vision/c", ports=(30030,)),
    ]
    await gateway.publish(routes)
    assert await made(client) == {"vision/a": [30010, 30011], "vision/c": [30030]}
    assert gateway.unopened() == {}
    (one, _) = (await client.list(kinds.SERVICE, namespace=SYSTEM, labels=f"{OWN_PORTS}=true")).items
    assert one["spec"]["selector"] == {"app.kubernetes.io/component": "router"}
    assert [(p["name"], p["port"], p["targetPort"]) for p in one["spec"]["ports"]] == [
        ("http", 30010, 30010), ("second", 30011, 30011),
    ]  # fmt: skip
    assert one["spec"]["clusterIP"]
    await gateway.publish(routes[1:])
    assert await made(client) == {"vision/c": [30030]}


async def test_ports_of_a_service_that_goes_are_free_for_the_next_at_once(
    client: Client, gateway: NodePorts
) -> None:
    await gateway.publish([served("vision/b", ports=(30010,))])
    await gateway.publish([served("vision/a", ports=(30010,))])
    assert await made(client) == {"vision/a": [30010]}
    assert gateway.unopened() == {}


async def test_a_port_that_somebody_elses_service_has_is_told_and_tried_again(
    client: Client, gateway: NodePorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_ports, "_AGAIN_SECONDS", 0.0)
    await foreign(client, "theirs", 30010)
    assert 30010 in await gateway.busy_ports()
    await gateway.publish([served("vision/a", ports=(30010,)), served("vision/b", ports=(30020,))])
    assert await made(client) == {"vision/b": [30020]}
    assert "already allocated" in gateway.unopened()[30010]
    await client.delete(kinds.SERVICE, "theirs", namespace="default")
    assert await gateway.ensure() is None
    assert gateway.unopened() == {}
    assert await made(client) == {"vision/a": [30010], "vision/b": [30020]}


async def test_what_somebody_takes_away_or_changes_is_made_again(
    client: Client, gateway: NodePorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_ports, "_AGAIN_SECONDS", 0.0)
    await gateway.publish([served("vision/a", ports=(30010,)), served("vision/b", ports=(30020,))])
    one, other = (await client.list(kinds.SERVICE, namespace=SYSTEM, labels=f"{OWN_PORTS}=true")).items
    await client.delete(kinds.SERVICE, one["metadata"]["name"], namespace=SYSTEM)
    changed: dict[str, Any] = {"spec": {"ports": [{**other["spec"]["ports"][0], "nodePort": 30999}]}}
    await client.patch(
        kinds.SERVICE, other["metadata"]["name"], changed, namespace=SYSTEM, manager="somebody"
    )
    await gateway.ensure()
    assert await made(client) == {"vision/a": [30010], "vision/b": [30020]}


async def test_what_an_earlier_control_plane_left_goes_and_others_services_stay(
    client: Client, gateway: NodePorts, routers: MemoryGateway
) -> None:
    await gateway.publish([served("vision/a", ports=(30010,))])
    await foreign(client, "theirs", 30500)
    after = NodePorts(routers, NodePortObjects(client, SYSTEM), NODES)
    await after.publish([served("vision/b", ports=(30020,))])
    assert await made(client) == {"vision/b": [30020]}
    assert await client.get(kinds.SERVICE, "theirs", namespace="default")


async def test_a_port_that_no_node_opens_is_told_with_the_remedy(client: Client, gateway: NodePorts) -> None:
    await gateway.publish([served("vision/a", ports=(38080,))])
    assert await made(client) == {}
    assert "38080 is not in the cluster's range of node ports, 30000-32767" in gateway.unopened()[38080]
    assert "deploy it anew" in gateway.unopened()[38080]


def in_pods(*, node_ports: str = "30000-32767", **gateway: Any) -> Settings:
    return Settings(
        backend=Backend(kind="kubernetes"),
        kubernetes=Kubernetes(routers=True, node_ports=node_ports),
        gateway=Gateway(**gateway),
    )


def test_ports_are_given_from_what_nodes_open() -> None:
    assert doors.port_range(Settings()).count == 10_000
    found = doors.port_range(in_pods())
    assert (found.base, found.count) == (30_000, 2_768)
    found = doors.port_range(in_pods(port_base=31_000, port_count=100))
    assert (found.base, found.count) == (31_000, 100)
    found = doors.port_range(in_pods(node_ports="20000-40000", port_base=38_080))
    assert (found.base, found.count) == (38_080, 1_921)
    assert doors.port_range(in_pods(node_ports="20000-40000")).base == 30_000


@pytest.mark.parametrize(
    ("node_ports", "base", "count"),
    [("38000-39000", 38_000, 1001), ("60000-65535", 60_000, 5_536), ("80-9000", 1_024, 7_977)],
)
def test_where_they_begin_follows_a_range_of_another_place(node_ports: str, base: int, count: int) -> None:
    found = doors.port_range(in_pods(node_ports=node_ports))
    assert (found.base, found.count) == (base, count)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (
            in_pods(port_base=38_080),
            r"port_base: 38080 is not in .*30000-32767.*kubernetes.node_ports",
        ),
        (in_pods(node_ports="80-90"), r"port_base: 1024 is not in .*80-90.*kubernetes.node_ports"),
        (in_pods(node_ports="all"), r"kubernetes.node_ports: must be FIRST-LAST"),
        (in_pods(node_ports="32767-30000"), r"kubernetes.node_ports: must be FIRST-LAST"),
    ],
)
def test_a_range_that_no_node_opens_is_refused(chosen: Settings, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        doors.port_range(chosen)
