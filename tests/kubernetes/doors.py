"""A cluster with a gateway implementation that serves, and back ends that say who they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from modelyard.backends.kubernetes.client.cluster import Cluster as Client
from modelyard.backends.kubernetes.client.config import Access
from tests.gateway.support import Upstream
from tests.support.cluster import crds, gateways, schemas
from tests.support.cluster.control import Control
from tests.support.cluster.dataplane import reading
from tests.support.cluster.dataplane.plane import DataPlane
from tests.support.cluster.running import Running, serving
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import Hand
from tests.support.patience import PATIENCE

SYSTEM, TEAM = "modelyard-system", "modelyard-vision"


@dataclass
class Doors:
    """The cluster, its gateway, and who is behind it."""

    there: Running
    plane: DataPlane
    client: Client
    path: Path
    upstreams: dict[str, Upstream] = field(default_factory=dict)

    def create(self, kind: str, name: str, namespace: str = "", **fields: Any) -> Object:
        """An object as its owner makes it."""
        value = {"metadata": {"name": name}, **fields}
        cluster = self.there.cluster
        return cluster.create(cluster.kind(kind), namespace, value, Options(manager="test"))

    async def backend(
        self, name: str, namespace: str = TEAM, *, port: int = 80, h2c: bool = False, **more: Any
    ) -> Upstream:
        """A Service with one pod behind it, which answers with its name."""
        host = f"127.0.0.{len(self.upstreams) + 2}"  # each pod has an address of its own
        upstream = await Upstream.start(self.path, name, tcp=True, host=host, **more)
        self.upstreams[name] = upstream
        protocol = {"appProtocol": "kubernetes.io/h2c"} if h2c else {}
        self.create("Service", name, namespace, spec={"ports": [{"name": "http", "port": port, **protocol}]})
        self.slice_of(name, namespace, [upstream.address])
        return upstream

    def slice_of(self, name: str, namespace: str, addresses: list[str], *, ready: bool = True) -> None:
        """Say where a Service's pods are."""
        port = int(addresses[0].rpartition(":")[2])
        self.create(
            "EndpointSlice", f"{name}-slice", namespace,
            addressType="IPv4", ports=[{"name": "http", "port": port, "protocol": "TCP"}],
            endpoints=[
                {"addresses": [each.rpartition(":")[0]], "conditions": {"ready": ready}} for each in addresses
            ],
        )  # fmt: skip
        cluster = self.there.cluster
        labels = {"metadata": {"labels": {"kubernetes.io/service-name": name}}}
        made = cluster.store.get(cluster.kind("EndpointSlice"), (namespace, f"{name}-slice"))
        assert made is not None
        Hand(cluster, "test").change(made, labels)

    def remove(self, kind: str, name: str, namespace: str) -> None:
        """Delete an object."""
        cluster = self.there.cluster
        cluster.delete(cluster.kind(kind), (namespace, name), Options(manager="test"))

    def door(self, namespace: str = SYSTEM, name: str = "modelyard", port: int = 80) -> str:
        """Where a Gateway listens: address and port."""
        found = Hand(self.there.cluster, "test").get("Gateway", (namespace, name))
        assert found is not None, f"no Gateway {namespace}/{name}"
        return f"{found['status']['addresses'][0]['value']}:{reading.port(port)}"

    async def settled(self) -> None:
        """Wait until the proxies work by what there is now."""
        await asyncio.sleep(0.1)
        async with asyncio.timeout(PATIENCE):
            while not self.plane.is_settled:
                await asyncio.sleep(0.02)

    async def ask(self, host: str, path: str = "/", headers: Mapping[str, str] = {}, **how: Any) -> Any:
        """The answer through the gateway at a host."""
        url = f"http://{how.pop('door', None) or self.door()}{path}"
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            return await http.request(how.pop("method", "GET"), url, headers={"host": host, **headers}, **how)

    async def who(self, host: str, path: str = "/", headers: Mapping[str, str] = {}, **how: Any) -> str:
        """Name of who answers there, or the status when nobody does."""
        answer = await self.ask(host, path, headers, **how)
        return str(answer.json()["replica"]) if answer.status_code == 200 else str(answer.status_code)

    async def counted(self, host: str, times: int) -> Counter[str]:
        """Who answers so many requests."""
        url, found = f"http://{self.door()}/", Counter[str]()
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            for _ in range(times):
                answer = await http.get(url, headers={"host": host})
                found[json.loads(answer.text)["replica"] if answer.status_code == 200 else "failed"] += 1
        return found


@contextlib.asynccontextmanager
async def opened(path: Path, name: str = "envoy") -> AsyncIterator[Doors]:
    """A cluster with one class, whose proxies work."""
    made = Cluster(
        schemas.load(schemas.VERSIONS[-1], crds.GATEWAY_API),
        clock=time.time,
        extra=[each for each, _ in crds.GATEWAY_API],
    )
    async with serving(made) as there:
        control = Control(made)
        plane = DataPlane(Hand(made, "gateway-controller"))
        control.door = plane
        client = Client(Access(server=there.url), clock=time.monotonic)
        doors = Doors(there, plane, client, path)
        doors.create("GatewayClass", name, spec={"controllerName": gateways.IMPLEMENTATIONS[name].controller})
        for namespace in (SYSTEM, TEAM):
            doors.create("Namespace", namespace)
        tasks = [asyncio.create_task(control.run()), asyncio.create_task(plane.run())]
        try:
            yield doors
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in tasks:
                if not each.cancelled() and each.exception():
                    raise each.exception() or AssertionError
            await plane.close()
            for upstream in doors.upstreams.values():
                await upstream.kill()
            await client.close()
