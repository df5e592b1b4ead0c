"""The control loops of a cluster, one round at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.cluster import gateways, networks, scheduler, workloads
from tests.support.cluster.kubelets import Part, Scripted
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import Hand

_MOST_ROUNDS = 100


class Kubelet(Protocol):
    """What runs the pods that have a node."""

    def step(self, pod: Object) -> None:
        """Bring one pod to where it should be now."""


@dataclass(slots=True)
class Control:
    """Controllers, scheduler and a scripted kubelet; `metrics` are what autoscalers see."""

    cluster: Cluster
    script: Callable[[Object], Part] = field(default=lambda pod: Part())
    metrics: Mapping[str, float] = field(default_factory=dict)
    kubelet: Kubelet = field(init=False)
    """A scripted one, unless another is put in its place."""

    def __post_init__(self) -> None:
        self.kubelet = Scripted(Hand(self.cluster, "kubelet"), lambda pod: self.script(pod))

    def settle(self) -> None:
        """Rounds until nothing changes any more at this moment; AssertionError when that never is."""
        for _ in range(_MOST_ROUNDS):
            before = self.cluster.store.version
            self._round()
            if self.cluster.store.version == before:
                return
        raise AssertionError("the cluster does not come to rest")

    async def run(self, period: float = 0.02) -> None:
        """Settle again and again."""
        while True:
            self.settle()
            await asyncio.sleep(period)

    def _round(self) -> None:
        names = ("kube-controller-manager", "default-scheduler", "gateway-controller")
        manager, chooser, door = (Hand(self.cluster, name) for name in names)
        steps: tuple[tuple[str, Callable[[Object], None]], ...] = (
            ("HorizontalPodAutoscaler", lambda value: networks.autoscaler(manager, value, self.metrics)),
            ("Deployment", lambda value: workloads.deployment(manager, value)),
            ("ReplicaSet", lambda value: workloads.replica_set(manager, value)),
            ("Job", lambda value: workloads.job(manager, value)),
            ("Pod", lambda value: scheduler.schedule(chooser, value)),
            ("Pod", self.kubelet.step),
            ("Service", lambda value: networks.service(manager, value)),
            ("PodDisruptionBudget", lambda value: networks.budget(manager, value)),
            ("GatewayClass", lambda value: gateways.gateway_class(door, value)),
            ("HTTPRoute", lambda value: gateways.route(door, value)),
            ("GRPCRoute", lambda value: gateways.route(door, value)),
            ("Gateway", lambda value: gateways.gateway(door, value)),
        )
        served = {resource.kind for resource in self.cluster.resources}
        for kind, step in (each for each in steps if each[0] in served):
            for value in manager.list(kind):
                step(value)


def add_node(
    cluster: Cluster, name: str, *, labels: Mapping[str, str] | None = None, **allocatable: str
) -> Object:
    """A node; underscores in names of resources stand for what cannot be written, `nvidia_com__gpu`."""
    amounts = {"cpu": "4", "memory": "16Gi"} | {
        key.replace("__", "/").replace("_", "."): amount for key, amount in allocatable.items()
    }
    value = {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "status": {
            "allocatable": amounts,
            "capacity": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    return cluster.create(cluster.kind("Node"), "", value, Options(manager="kubelet"))
