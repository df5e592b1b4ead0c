"""A cluster with controllers, nodes and a scripted kubelet, and our backend on it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.backends.base import Launch
from modelyard.backends.kubernetes.backend import KubernetesBackend, Options
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.deployment import Key, Phase, Replica
from tests.backends import things
from tests.backends.things import KEY
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.kubelets import Part
from tests.support.cluster.processes.environ import Image
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.running import Running, running
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Options as How
from tests.support.cluster.writing import Hand

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

    def launch(self, replica: str, **changes: object) -> Launch:
        """A launch of `churn`."""
        return things.launch(replica, self.path, **changes)  # type: ignore[arg-type]

    async def seen(self, key: Key = KEY) -> dict[str, Replica]:
        """What runs, by name."""
        return {each.name: each for each in await self.backend.observe(key)}

    async def until_ready(self, *names: str, key: Key = KEY) -> dict[str, Replica]:
        """Wait until these and no others are ready."""
        async with asyncio.timeout(20):
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
    path: Path, *, processes: bool = False, settings: Settings | None = None
) -> AsyncIterator[World]:
    """A cluster of one node with four cores, its control loops running; with `processes`, pods are real."""
    async with running(clock=time.time) as there:
        control = Control(there.cluster, script=lambda pod: QUICK)
        kubelet = ProcessKubelet(Hand(there.cluster, "kubelet"), path / "pods", image)
        if processes:
            control.kubelet = there.server.keeper = kubelet
            there.server.execute, there.server.measure = kubelet.execute, kubelet.measure
        add_node(there.cluster, "node-1", nvidia_com__gpu="2")
        for level in ("low", "normal", "high"):
            value = {"metadata": {"name": f"modelyard-serving-{level}"}, "value": 1000}
            there.cluster.create(there.cluster.kind("PriorityClass"), "", value, How(manager="test"))
        kubeconfig = there.kubeconfig(path)
        looping = asyncio.create_task(control.run())
        backend = connected(kubeconfig, settings)
        try:
            yield World(there, control, backend, path, kubeconfig)
        finally:
            await backend.close()
            await kubelet.close()
            looping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looping


def image(name: str) -> Image | None:
    """This checkout, for images of Modelyard; others cannot be pulled."""
    return CHECKOUT if name.startswith("modelyard/") else None


def connected(kubeconfig: Path, settings: Settings | None = None) -> KubernetesBackend:
    """A backend as a control plane finds it."""
    access = config.load({}, kubeconfig=str(kubeconfig))
    options = Options(
        capabilities=Capabilities(version=(1, 37)), settings=settings or Settings(), token=TOKEN
    )
    return KubernetesBackend(Cluster(access, clock=time.monotonic), options, clock=time.time)
