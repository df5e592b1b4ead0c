"""What makes a cluster of an API server besides its control plane: nodes that say they live, and volumes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.support.apiserver.mirror import Mirror
from tests.support.cluster import nodes
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Options
from tests.support.cluster.writing import Hand, condition

LEASES = "kube-node-lease"
PROVISIONER = "tests.modelyard.dev/directory"
_BEAT_SECONDS = 1.0
_PERIOD_SECONDS = 0.05
_ALIVE = {
    "type": "Ready",
    "status": "True",
    "reason": "KubeletReady",
    "message": "kubelet is posting ready status",
}
_CORES, _MEMORY = "32", "64Gi"


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses of this machine that nodes, services and pods of one cluster have.

    An API server takes none of 127.0.0.0/8 for pods, so these are routed to this machine.
    """

    prefix: str
    """Two parts of an address, such as `100.70`."""

    @property
    def whole(self) -> str:
        """All of it."""
        return f"{self.prefix}.0.0/16"

    @property
    def services(self) -> str:
        """The upper half."""
        return f"{self.prefix}.128.0/17"

    def node(self, number: int) -> str:
        """Of a node, from 1."""
        return f"{self.prefix}.0.{number}"

    def pods(self) -> Iterator[str]:
        """One after another."""
        for number in range(127 * 250):
            yield f"{self.prefix}.{1 + number // 250}.{1 + number % 250}"


def node(name: str, address: str, kubelet: str, port: int) -> Object:
    """A node of an address, whose kubelet answers at another."""
    amounts = {"cpu": _CORES, "memory": _MEMORY, "pods": "250", "ephemeral-storage": "100Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "addresses": [
                {"type": "InternalDNS", "address": kubelet},
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [_ALIVE],
        },
    }  # fmt: skip


async def run_kubelet(mirror: Mirror, kubelet: ProcessKubelet) -> None:
    """Have it look at every pod again and again."""
    while True:
        for pod in mirror.store.list(mirror.kind("Pod")):
            kubelet.step(pod)
        await asyncio.sleep(_PERIOD_SECONDS)


async def beat(mirror: Mirror) -> None:
    """Say of every node that has power that it lives: in its Lease, and in its status after it was lost."""
    hand = Hand(mirror, "kubelet")  # type: ignore[arg-type]  # all that a hand asks of a cluster
    while True:
        for each in mirror.store.list(mirror.kind("Node")):
            if nodes.OFF not in (each["metadata"].get("annotations") or {}):
                _renew(mirror, each)
                if condition(each.get("status") or {}, "Ready").get("status") != "True":
                    rest = [c for c in each["status"].get("conditions", ()) if c["type"] != "Ready"]
                    hand.status(each, {"conditions": [*rest, _ALIVE]})
        await asyncio.sleep(_BEAT_SECONDS)


def _renew(mirror: Mirror, node: Object) -> None:
    kind, name = mirror.kind("Lease"), node["metadata"]["name"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": name, "leaseDurationSeconds": 4, "renewTime": now}
    options = Options(manager="kubelet")
    if mirror.store.get(kind, (LEASES, name)) is None:
        mirror.create(kind, LEASES, {"metadata": {"name": name}, "spec": spec}, options)
    else:
        mirror.patch(kind, (LEASES, name), "application/merge-patch+json", {"spec": spec}, options)


async def provide(mirror: Mirror, kubelet: ProcessKubelet) -> None:
    """Give every claim that waits a volume, which is a directory."""
    made: set[str] = set()
    while True:
        for claim in mirror.store.list(mirror.kind("PersistentVolumeClaim")):
            uid = claim["metadata"].get("uid", "")
            if uid and uid not in made and not claim["spec"].get("volumeName"):
                made.add(uid)
                mirror.create(
                    mirror.kind("PersistentVolume"), "", _volume(claim, kubelet), Options(manager="volumes")
                )
        await asyncio.sleep(_PERIOD_SECONDS)


def _volume(claim: Object, kubelet: ProcessKubelet) -> Object:
    metadata: Any = claim["metadata"]
    directory = kubelet.storage.claim((metadata["namespace"], metadata["name"]))
    return {
        "metadata": {"name": f"directory-{metadata['uid']}"},
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": metadata["namespace"],
                "name": metadata["name"], "uid": metadata["uid"],
            },
            "hostPath": {"path": str(directory)},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": claim["spec"].get("storageClassName") or "",
        },
    }  # fmt: skip
