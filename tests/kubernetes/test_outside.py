"""By which address clients outside find a platform in a cluster: as settings say, or as it is found."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelyard.backends.kubernetes.client.cluster import Cluster as Client
from modelyard.backends.kubernetes.client.config import Access
from modelyard.composing import doors, outside
from modelyard.installing import applying
from modelyard.settings import Backend, Gateway, Kubernetes, Settings
from tests.support.cluster.control import add_node
from tests.support.cluster.running import Running, running
from tests.support.cluster.writing import Hand

SYSTEM = "modelyard-system"
NODE = "192.0.2.10"


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as there:
        node = add_node(there.cluster, "one")
        addresses = [{"type": "InternalIP", "address": NODE}]
        Hand(there.cluster, "kubelet").status(node, {**node["status"], "addresses": addresses})
        yield there


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Client]:
    found = Client(Access(server=server.url), clock=time.time)
    await found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}, manager="test")
    yield found
    await found.close()


async def door(client: Client, server: Running, kind: str, *given: dict[str, str]) -> None:
    """The Service of the front door, and what a load balancer has given it."""
    metadata = {"name": "modelyard-door", "namespace": SYSTEM}
    spec = {"type": kind, "selector": {"a": "b"}, "ports": [{"name": "http", "port": 80}]}
    await client.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}, manager="test"
    )
    if given:
        hand = Hand(server.cluster, "cloud")
        (made,) = hand.list("Service", SYSTEM)
        hand.status(made, {"loadBalancer": {"ingress": list(given)}})


def chosen(*, host: str = "", external_ip: str = "", port: int = 30_080) -> Settings:
    return Settings(
        backend=Backend(kind="kubernetes"),
        kubernetes=Kubernetes(routers=True, shown_port=port, shown_host=host, system_namespace=SYSTEM),
        gateway=Gateway(external_ip=external_ip),
    )


async def url(client: Client, settings: Settings) -> str:
    found = await outside.look(client, settings, patience_seconds=0.1)
    assert found.node == NODE, "services' own ports are of nodes, whoever leads to the front door"
    return doors.public_url(settings.server, outside=doors.shown(settings), machine=found.door)


async def test_settings_come_first(client: Client, server: Running) -> None:
    await door(client, server, "LoadBalancer", {"ip": "203.0.113.9"})
    assert await url(client, chosen(host="192.0.2.7", external_ip="198.51.100.1")) == "http://192.0.2.7:30080"
    assert await url(client, chosen(external_ip="10.0.0.1|ml.example.org")) == "http://ml.example.org:30080"
    assert await url(client, chosen(host="0.0.0.0", external_ip="fd00::1")) == "http://[fd00::1]:30080"


@pytest.mark.parametrize(
    ("kind", "given", "found"),
    [
        ("LoadBalancer", {"ip": "203.0.113.9"}, "http://203.0.113.9:80"),
        ("LoadBalancer", {"hostname": "lb.example.com"}, "http://lb.example.com:80"),
        ("LoadBalancer", None, f"http://{NODE}:80"),
        ("NodePort", None, f"http://{NODE}:80"),
        ("ClusterIP", None, f"http://{NODE}:80"),
    ],
)
async def test_then_the_load_balancer_and_only_then_a_node(
    client: Client, server: Running, kind: str, given: dict[str, str] | None, found: str
) -> None:
    await door(client, server, kind, *([given] if given else []))
    assert await url(client, chosen(port=80)) == found


async def test_a_port_of_pods_is_of_the_nodes_that_have_them(client: Client, server: Running) -> None:
    await door(client, server, "ClusterIP")
    labels = {"app.kubernetes.io/name": "modelyard"}
    port = {"name": "http", "containerPort": 8080, "hostPort": 80}
    spec = {"nodeName": "one", "containers": [{"name": "router", "image": "i", "ports": [port]}]}
    metadata = {"name": "router", "namespace": SYSTEM, "labels": labels}
    pod: Any = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    await client.create(pod)
    hand = Hand(server.cluster, "kubelet")
    (made,) = hand.list("Pod", SYSTEM)
    hand.status(made, {"hostIP": "192.0.2.33", "phase": "Running"})
    assert await url(client, chosen(port=80)) == "http://192.0.2.33:80"


async def test_without_a_door_outside_nobody_is_asked(client: Client) -> None:
    assert await outside.look(client, chosen(port=0)) == outside.Outside()


async def test_without_an_answer_a_node_does(client: Client) -> None:
    assert await url(client, chosen()) == f"http://{NODE}:30080", "there is no door yet"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"GATEWAY__EXTERNAL_IP": "10.0.0.1|ml.example.org"}, ("http://ml.example.org:30080",)),
        ({"KUBERNETES__SHOWN_HOST": "192.0.2.7"}, ("http://192.0.2.7:30080",)),
        ({"SERVER__PUBLIC_URL": "https://ml.org"}, ("https://ml.org", f"http://{NODE}:30080")),
        ({}, (f"http://{NODE}:30080",)),
    ],
)
async def test_whoever_installs_is_told_the_same(
    client: Client, server: Running, said: dict[str, str], found: tuple[str, ...]
) -> None:
    metadata = {"name": "modelyard-door", "namespace": SYSTEM}
    ports = [{"name": "http", "port": 8080, "nodePort": 30080}]
    spec = {"type": "NodePort", "selector": {"a": "b"}, "ports": ports}
    await client.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}, manager="test"
    )
    told = {f"MODELYARD_{name}": value for name, value in said.items()}
    assert await applying.addresses(client, SYSTEM, told) == found
