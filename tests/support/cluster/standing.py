"""A cluster as a process, whose pods are processes too: `python -m tests.support.cluster.standing HOME`.

Below HOME it keeps its pods' directories and, once it answers, `kubeconfig.yaml`; SIGTERM ends everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from tests.support.cluster import crds, gateways
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.processes.environ import Image
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.running import running
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import Hand

ROOT = Path(__file__).parents[3]
CHECKOUT = Image(
    path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", env={"PYTHONPATH": str(ROOT / "src")}
)
NODES = ("node-1", "node-2")
_CORES = "32"
"""More than there are, so that only a scenario that asks for very much has to wait."""


def image(name: str) -> Image | None:
    """This checkout, for images of Modelyard; others cannot be pulled."""
    return CHECKOUT if name.startswith("modelyard/") else None


def furnish(cluster: Cluster) -> None:
    """Two nodes, a gateway class, and what an administrator's installation leaves in a cluster."""
    for name in NODES:
        add_node(cluster, name, cpu=_CORES, memory="64Gi")
    for number, level in enumerate(("low", "normal", "high")):
        _create(cluster, "PriorityClass", f"modelyard-serving-{level}", {"value": 1000 * (number + 1)})
    _create(cluster, "Namespace", "modelyard-system", {})
    controller = gateways.IMPLEMENTATIONS["envoy"].controller
    _create(cluster, "GatewayClass", "envoy", {"spec": {"controllerName": controller}})


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
        control = Control(there.cluster)
        kubelet = ProcessKubelet(Hand(there.cluster, "kubelet"), home / "pods", image)
        control.kubelet = there.server.keeper = kubelet
        there.server.execute, there.server.measure = kubelet.execute, kubelet.measure
        furnish(there.cluster)
        looping = asyncio.create_task(control.run())
        there.kubeconfig(home)
        stopping = asyncio.create_task(ended.wait())
        await asyncio.wait({looping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await kubelet.close()
        looping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looping


if __name__ == "__main__":
    asyncio.run(stand(Path(sys.argv[1])))
