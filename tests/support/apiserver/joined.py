"""A real control plane whose pods are processes: `python -m tests.support.apiserver.joined HOME`.

`KUBEBUILDER_ASSETS` names a directory with etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
Nodes, kube-proxy, a gateway's controller and the figures of pods are those of the test cluster. Below HOME it
keeps what it needs and, once it answers, `kubeconfig.yaml`; SIGTERM ends everything. Needs to be root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.support.apiserver import controlling, kubelet_api, nodes
from tests.support.apiserver.launching import Launched, launched, trusting
from tests.support.apiserver.mirror import Mirror
from tests.support.apiserver.nodes import Network
from tests.support.cluster import crds, customs, gateways, measuring
from tests.support.cluster.dataplane.plane import DataPlane
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.proxying import Proxy
from tests.support.cluster.resources import BUILT_IN
from tests.support.cluster.standing import NODES, image
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, condition

_KINDS = (
    "Namespace", "Node", "Pod", "Service", "ConfigMap", "Secret", "Event", "PersistentVolume",
    "PersistentVolumeClaim", "Lease", "EndpointSlice", "ResourceClaim", "ResourceSlice",
)  # fmt: skip
"""What nodes, proxies and gateways look at."""
_DOORS = ("GatewayClass", "Gateway", "HTTPRoute", "GRPCRoute")
_PERIOD_SECONDS = 0.05
_READY_SECONDS = 60.0


def _network() -> Network:
    """Another for each cluster of tests on this machine."""
    return Network(f"100.{64 + os.getpid() % 64}")


@contextlib.contextmanager
def routed(network: Network) -> Iterator[None]:
    """Its addresses are this machine's, until the block ends."""
    words = ("local", network.whole, "dev", "lo")
    subprocess.run(["ip", "route", "replace", *words], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", *words], check=False, capture_output=True)


def flags(network: Network, own: Path) -> Mapping[str, str]:
    """What the API server is told besides: where nodes and services are, and to be as strict as it comes."""
    return {
        "advertise-address": network.node(250),
        "disable-admission-plugins": "",
        "service-cluster-ip-range": network.services,
        "kubelet-preferred-address-types": "InternalDNS",
        "kubelet-client-certificate": str(own / "client.crt"),
        "kubelet-client-key": str(own / "client.key"),
        # The kubelet here speaks WebSocket itself.
        "feature-gates": "TranslateStreamCloseWebsocketRequests=false",
        "default-not-ready-toleration-seconds": "4",
        "default-unreachable-toleration-seconds": "4",
    }


async def stand(assets: Path, home: Path) -> None:
    """Run until a signal comes."""
    home.mkdir(parents=True, exist_ok=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    network, server = _network(), home / "server"
    with (
        routed(network),
        launched(assets, server, flags=flags(network, server / "papers")) as there,
        controlling.controlled(assets, there, server) as programs,
    ):
        async with _populated(there, home, network):
            shutil.copy(there.kubeconfig, home / "kubeconfig.yaml")
            while not ended.is_set():
                controlling.require_alive(programs)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), 1.0)


@contextlib.asynccontextmanager
async def _populated(there: Launched, home: Path, network: Network) -> AsyncIterator[None]:
    """With nodes that run pods."""
    trust = trusting(there.papers)
    async with httpx2.AsyncClient(base_url=there.url, verify=trust, trust_env=False, timeout=20) as client:
        for resource, schema in crds.GATEWAY_API:
            await _create(client, _DEFINITIONS, customs.definition(resource, schema))
        await _served(client)
        mirror = Mirror(there.url, trust, _mirrored(), time.time)
        hand = Hand(mirror, "kubelet")  # type: ignore[arg-type]  # all that a hand asks of a cluster
        kubelet = ProcessKubelet(hand, home / "pods", image, addresses=network.pods())
        plane = DataPlane(Hand(mirror, "gateway-controller"))  # type: ignore[arg-type]  # likewise
        proxy = Proxy(mirror, f"{network.prefix}.")  # type: ignore[arg-type]  # likewise
        api = kubelet_api.KubeletApi(mirror, kubelet)
        async with kubelet_api.serving(api, network.node(200), there.papers) as port:
            loops = (
                mirror.run(), nodes.run_kubelet(mirror, kubelet), nodes.beat(mirror),
                nodes.provide(mirror, kubelet), proxy.run(), plane.run(), _steer(mirror, plane),
            )  # fmt: skip
            tasks = [asyncio.create_task(each) for each in loops]
            try:
                await mirror.synced()
                await _furnish(client, network, port)
                await _settled(mirror)
                yield
            finally:
                await kubelet.close()
                await plane.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


def _mirrored() -> tuple[Any, ...]:
    built = tuple(each for each in BUILT_IN if each.kind in _KINDS)
    return (*built, *(resource for resource, _ in crds.GATEWAY_API))


_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def _create(client: httpx2.AsyncClient, path: str, value: Object) -> None:
    """Create an object, or leave the one that there is; an API server that just began may say no at first."""
    for _ in range(50):
        answer = await client.post(path, json=value)
        if answer.is_success or answer.status_code == 409:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{path}: {answer.status_code} {answer.text}")


async def _served(client: httpx2.AsyncClient) -> None:
    """Wait until custom resources are served."""
    async with asyncio.timeout(_READY_SECONDS):
        for resource, _ in crds.GATEWAY_API:
            while not (await client.get(f"{resource.prefix}/{resource.plural}")).is_success:
                await asyncio.sleep(0.1)


async def _furnish(client: httpx2.AsyncClient, network: Network, port: int) -> None:
    """Nodes, figures of pods, a gateway class, and what an administrator leaves in a cluster."""
    for number, name in enumerate(NODES, start=1):
        await _create(
            client, "/api/v1/nodes", nodes.node(name, network.node(number), network.node(200), port)
        )
    await _create(client, "/api/v1/namespaces", {"metadata": {"name": "modelyard-system"}})
    named = {"metadata": {"name": "envoy"}}
    controller = gateways.IMPLEMENTATIONS["envoy"].controller
    group = "/apis/gateway.networking.k8s.io/v1"
    await _create(client, f"{group}/gatewayclasses", {
        **_head(group, "GatewayClass"), **named, "spec": {"controllerName": controller},
    })  # fmt: skip
    for path, value in _figures(network, port):
        await _create(client, path, value)


def _head(group: str, kind: str) -> Object:
    return {"apiVersion": group.removeprefix("/apis/").removeprefix("/api/"), "kind": kind}


def _figures(network: Network, port: int) -> Iterator[tuple[str, Object]]:
    """What leads the API server's `metrics.k8s.io` to where the kubelet says what pods use."""
    name, namespace = "metrics-server", "kube-system"
    named = {"name": name, "namespace": namespace}
    here = f"namespaces/{namespace}"
    yield (
        f"/api/v1/{here}/services",
        {"metadata": named, "spec": {"ports": [{"port": 443, "targetPort": port}]}},
    )
    yield (
        f"/apis/discovery.k8s.io/v1/{here}/endpointslices",
        {
            "metadata": {**named, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [network.node(200)], "conditions": {"ready": True}}],
            "ports": [{"port": port, "protocol": "TCP"}],
        },
    )
    version = measuring.VERSION.partition("/")[2]
    yield "/apis/apiregistration.k8s.io/v1/apiservices", {
        "metadata": {"name": f"{version}.{measuring.GROUP}"},
        "spec": {
            "service": named, "group": measuring.GROUP, "version": version, "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100, "versionPriority": 100,
        },
    }  # fmt: skip


async def _settled(mirror: Mirror) -> None:
    """Wait until nodes take pods and namespaces have what pods need."""
    async with asyncio.timeout(_READY_SECONDS):
        while not all(_takes_pods(each) for each in mirror.store.list(mirror.kind("Node"))):
            await asyncio.sleep(0.1)


def _takes_pods(node: Object) -> bool:
    return condition(node["status"], "Ready").get("status") == "True" and not node["spec"].get("taints")


async def _steer(mirror: Mirror, plane: DataPlane) -> None:
    """Have the gateways' controller look at every object again and again."""
    while True:
        for kind in _DOORS:
            for value in mirror.store.list(mirror.kind(kind)):
                plane.step(value)
        await asyncio.sleep(_PERIOD_SECONDS)


if __name__ == "__main__":
    asyncio.run(stand(Path(os.environ["KUBEBUILDER_ASSETS"]), Path(sys.argv[1])))
