"""A cluster with controllers, nodes and a scripted kubelet, and our backend on it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.backends.base import Launch
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.backend import KubernetesBackend, Options
from modelyard.backends.kubernetes.capabilities import Capabilities, Gpus
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.deployment import Key, Phase, Replica
from tests.backends import things
from tests.backends.things import KEY
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.kubelets import Part
from tests.support.cluster.processes.containers import Container
from tests.support.cluster.processes.environ import Image
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.running import Running, running
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
CHECKOUT = Image(
    path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", env={"PYTHONPATH": str(ROOT / "src")}
)
TOKEN = "the platform's token"
QUICK = Part(starts_after=0.0, ready_after=0.05, stops_after=0.05)


@dataclass
class World:
    """A running cluster and a backend."""

    there: Running
    control: Control
    backend: KubernetesBackend
    path: Path
    kubeconfig: Path
    kubelet: ProcessKubelet
    """Runs the pods of a world with processes."""

    def launch(self, replica: str, **changes: object) -> Launch:
        """A launch of `churn`."""
        return things.launch(replica, self.path, **changes)  # type: ignore[arg-type]

    def container(self, address: str) -> Container:
        """The server that runs at an address, in a world with processes."""
        ip = address.rpartition(":")[0]
        (pod,) = (each for each in self.kubelet.pods.values() if each.ip == ip)
        (found,) = (part.container for part in pod.parts if part.spec["name"] == names.SERVER)
        assert found is not None
        return found

    async def seen(self, key: Key = KEY) -> dict[str, Replica]:
        """What runs, by name."""
        return {each.name: each for each in await self.backend.observe(key)}

    async def until_ready(self, *names: str, key: Key = KEY) -> dict[str, Replica]:
        """Wait until these and no others are ready."""
        async with asyncio.timeout(PATIENCE):
            while True:
                seen = await self.seen(key)
                if seen.keys() == set(names) and all(r.phase is Phase.READY for r in seen.values()):
                    return seen
                await asyncio.sleep(0.02)

    def objects(self, kind: str, namespace: str = "modelyard-default") -> list[Object]:
        """What the cluster has."""
        cluster = self.there.cluster
        found = cluster.store.list(cluster.kind(kind))
        return [each for each in found if each["metadata"].get("namespace", "") in (namespace, "")]


@contextlib.asynccontextmanager
async def world(
    path: Path,
    *,
    processes: bool = False,
    settings: Settings | None = None,
    resources: frozenset[str] = frozenset(),
    nodes: bool = True,
    enforces: bool = False,
    extra: Iterable[tuple[Resource, str]] = (),
) -> AsyncIterator[World]:
    """A cluster of one node with four cores, its control loops running; with `processes`, pods are real.

    `resources` are those that the backend knows of; without `nodes` there is none yet; `extra` are custom
    resources that the cluster serves. With `enforces`, the network between processes keeps NetworkPolicies.
    """
    async with running(clock=time.time, extra=extra) as there:
        control = Control(there.cluster, script=lambda pod: QUICK)
        kubelet = ProcessKubelet(Hand(there.cluster, "kubelet"), path / "pods", image, enforces=enforces)
        if processes:
            control.kubelet = there.server.keeper = kubelet
            there.server.execute, there.server.measure = kubelet.execute, kubelet.measure
        if nodes:
            add_node(there.cluster, "node-1", nvidia_com__gpu="2")
        kubeconfig = there.kubeconfig(path)
        looping = asyncio.create_task(control.run())
        backend = connected(kubeconfig, settings, resources)
        try:
            yield World(there, control, backend, path, kubeconfig, kubelet)
        finally:
            await backend.close()
            await kubelet.close()
            looping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looping


def image(name: str) -> Image | None:
    """This checkout, for images of Modelyard; others cannot be pulled."""
    return CHECKOUT if name.startswith("modelyard/") else None


def connected(
    kubeconfig: Path, settings: Settings | None = None, resources: frozenset[str] = frozenset()
) -> KubernetesBackend:
    """A backend as a control plane finds it."""
    access = config.load({}, kubeconfig=str(kubeconfig))
    classes = frozenset({"gpu.nvidia.com"} if resources else ())
    known = Capabilities(version=(1, 37), resources=resources, gpus=Gpus(device_classes=classes))
    chosen = replace(settings or Settings(), drain_wait_seconds=5)
    options = Options(capabilities=known, settings=chosen, token=TOKEN)
    return KubernetesBackend(Cluster(access, clock=time.monotonic), options, clock=time.time)
