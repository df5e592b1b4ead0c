"""A cluster as a process, whose pods are processes too: `python -m tests.support.cluster.standing HOME`.

Below HOME it keeps its pods' directories and, once it answers, `kubeconfig.yaml`; SIGTERM ends everything.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from tests.support.cluster import crds, gateways
from tests.support.cluster.autoscaling import Autoscalers
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.dataplane.plane import DataPlane
from tests.support.cluster.nodes import Patience
from tests.support.cluster.processes.environ import Image
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.proxying import Proxy
from tests.support.cluster.running import running
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import Hand

ROOT = Path(__file__).parents[3]
CHECKOUT = Image(
    path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", env={"PYTHONPATH": str(ROOT / "src")}
)
NODES = ("node-1", "node-2")
_NETWORK = f"127.{252 + os.getpid() % 3}"
"""Where nodes and services have their addresses, apart from those of pods and of other clusters' tests."""
_CORES = "32"
"""More than there are, so that only a scenario that asks for very much has to wait."""
_PATIENCE = Patience(notice=2.0, evict=4.0)
"""Nobody wants to watch a cluster's own five minutes."""


def image(name: str) -> Image | None:
    """This checkout, for images of Modelyard; others cannot be pulled."""
    return CHECKOUT if name.startswith("modelyard/") else None


def furnish(cluster: Cluster) -> None:
    """Two nodes, a gateway class, and what an administrator's installation leaves in a cluster."""
    for number, name in enumerate(NODES, start=1):
        node = add_node(cluster, name, cpu=_CORES, memory="64Gi")
        here = [{"type": "InternalIP", "address": f"{_NETWORK}.{os.getpid() % 250}.{250 + number}"}]
        Hand(cluster, "kubelet").status(node, {**node["status"], "addresses": here})
    _create(cluster, "Namespace", "modelyard-system", {})
    controller = gateways.IMPLEMENTATIONS["envoy"].controller
    _create(cluster, "GatewayClass", "envoy", {"spec": {"controllerName": controller}})


_SCALING_SECONDS = 2.0
"""How often autoscalers look, so that nobody waits for them."""


def _create(cluster: Cluster, kind: str, name: str, fields: dict[str, object]) -> None:
    value = {"metadata": {"name": name}, **fields}
    cluster.create(cluster.kind(kind), "", value, Options(manager="administrator"))


async def stand(home: Path) -> None:
    """Run until a signal comes."""
    home.mkdir(parents=True, exist_ok=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with running(clock=time.time, extra=(*crds.GATEWAY_API, *crds.KEDA)) as there:
        control = Control(there.cluster, patience=_PATIENCE)
        kubelet = ProcessKubelet(Hand(there.cluster, "kubelet"), home / "pods", image)
        control.kubelet = there.server.keeper = kubelet
        control.autoscalers = Autoscalers(measure=kubelet.measure, period=_SCALING_SECONDS)
        there.server.execute, there.server.measure = kubelet.execute, kubelet.measure
        there.cluster.store.services = _NETWORK
        furnish(there.cluster)
        plane = control.door = DataPlane(Hand(there.cluster, "gateway-controller"))
        looping = asyncio.create_task(control.run())
        doors = [asyncio.create_task(plane.run()), asyncio.create_task(Proxy(there.cluster).run())]
        there.kubeconfig(home)
        stopping = asyncio.create_task(ended.wait())
        ended_first, _ = await asyncio.wait({looping, stopping, *doors}, return_when=asyncio.FIRST_COMPLETED)
        await kubelet.close()
        await plane.close()
        for task in (looping, *doors):
            task.cancel()
        await asyncio.gather(looping, *doors, return_exceptions=True)
        for task in ended_first:
            task.result()


if __name__ == "__main__":
    asyncio.run(stand(Path(sys.argv[1])))
