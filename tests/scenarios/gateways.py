"""Two more ways for requests on a cluster: routers as pods, and a gateway of the cluster's in front."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from typing import Any

import yaml

from modelyard import Client
from modelyard.installing import rendering, values
from tests.scenarios.engines import DRAIN_WAIT_SECONDS, InCluster, Way, until
from tests.support import changes
from tests.support.cluster.dataplane import reading
from tests.support.platform import Running
from tests.support.ports import free_port

SYSTEM = "modelyard-system"
_COUNT = 2
_OWN = ("modelyard-router", "modelyard-door")


class ByRouters(InCluster):
    """Clients come in by a port of the nodes, and routers as pods lead them to the replicas."""

    name = "routers"
    more: dict[str, Any] = {}  # noqa: RUF012 - said once for each kind

    def installed(self, home: Path) -> Running:
        self.api_port, self.ports = free_port(), (_node_port(), _node_port())
        kubernetes = {
            "kubeconfig": str(self.kubeconfig), "drain_wait_seconds": DRAIN_WAIT_SECONDS,
            "routers": True, "lease": True, "api_port": self.api_port,
            "artifact_url": f"http://127.0.0.1:{self.api_port}", **self.more,
        }  # fmt: skip
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in kubernetes.items())
        settings = (
            f'[server]\nhttps_port = {self.ports[1]}\n[backend]\nkind = "kubernetes"\n[kubernetes]\n{lines}'
        )
        return Running(home / "home", settings=settings, port=self.ports[0])

    def begin(self) -> None:
        """Start the routers, as the installation renders them."""
        bind = {"http_port": self.ports[0], "https_port": self.ports[1]}
        for manifest in rendering.manifests(values.of({"routers": {"count": _COUNT}, "bind": bind})):
            if manifest["metadata"]["name"] in _OWN and manifest["kind"] != "PodDisruptionBudget":
                path = self.home / "router.yaml"
                path.write_text(yaml.safe_dump(self._at_home(manifest)))
                self.kubectl("apply", "-f", str(path))
        until(lambda: self.ready() == _COUNT, "routers are ready", seconds=120)
        until(lambda: answers(self.ports[0]), "the front door answers", seconds=60)

    def ready(self) -> int:
        """How many routers are."""
        labels = "app.kubernetes.io/component=router"
        found = json.loads(self.kubectl("get", "pods", "-n", SYSTEM, "-l", labels, "-o", "json"))["items"]
        said = [c for pod in found for c in pod.get("status", {}).get("conditions", ())]
        return sum(c["type"] == "Ready" and c["status"] == "True" for c in said)

    def _at_home(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Their ports are those that the platform was told; each listens at its own address."""
        text = json.dumps(manifest).replace("8080", str(self.ports[0])).replace("8443", str(self.ports[1]))
        found: dict[str, Any] = json.loads(text)
        if found["kind"] == "Deployment":
            (container,) = found["spec"]["template"]["spec"]["containers"]
            here = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
            given = {"MODELYARD_ROUTER_HOST", "MODELYARD_ROUTER_API"}
            container["env"] = [
                *(each for each in container["env"] if each["name"] not in given),
                {"name": "MODELYARD_ROUTER_HOST", "valueFrom": here},
                {"name": "MODELYARD_ROUTER_API", "value": f"127.0.0.1:{self.api_port}"},
            ]
        return found


class ByGateway(ByRouters):
    """Clients come to a gateway of the cluster's, which leads straight to the replicas where it can."""

    name = "gateway"
    straight = True
    more = {"gateway_class": "envoy", "routing": "gateway"}  # noqa: RUF012

    def door(self, port: int) -> tuple[str, int]:
        """Where the gateway listens for one of its ports."""
        found = json.loads(self.kubectl("get", "gateway", "-n", SYSTEM, "modelyard", "-o", "json"))
        return str(found["status"]["addresses"][0]["value"]), reading.port(port)

    def way(self, service: str) -> Way:
        return Way(self.door(80), host=f"{service}.service.localhost")

    def target(self, token: str, *, rate: float) -> changes.Target:
        return changes.at_the_gateway(self.door(80), token, rate=rate)

    def target_at_host(self, client: Client, token: str, *, rate: float) -> changes.Target:
        return changes.at_the_gateway(self.door(80), token, rate=rate, host=changes.HOST)

    def backends(self, service: str) -> set[str]:
        """Services that the route of a service's host leads to."""
        routes = json.loads(self.kubectl("get", "httproutes", "-n", SYSTEM, "-o", "json"))["items"]
        return {
            backend["name"]
            for route in routes
            if f"{service}.service.localhost" in route["spec"].get("hostnames", ())
            for rule in route["spec"]["rules"]
            for backend in rule["backendRefs"]
        }


def answers(port: int) -> bool:
    """Whether somebody answers there."""
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False
        probe.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        try:
            return bool(probe.recv(1))
        except OSError:
            return False


def _node_port() -> int:
    """One of those that nodes open, which is free."""
    while True:
        port = random.randrange(30_000, 32_768)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
