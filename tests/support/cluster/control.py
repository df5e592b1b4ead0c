"""The control loops of a cluster, one round at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.cluster import (
    autoscaling,
    claims,
    gateways,
    networks,
    nodes,
    queueing,
    scheduler,
    workloads,
)
from tests.support.cluster.autoscaling import Autoscalers
from tests.support.cluster.kubelets import Part, Scripted
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import Hand

_MOST_ROUNDS = 100


class Kubelet(Protocol):
    """What runs the pods that have a node."""

    def step(self, pod: Object) -> None:
        """Bring one pod to where it should be now."""


class Door(Protocol):
    """What looks after gateways."""

    def step(self, value: Object) -> None:
        """Say what there is to say of a class, a Gateway or a route."""


@dataclass(slots=True)
class Accepting:
    """A controller of gateways that has no proxies."""

    hand: Hand

    def step(self, value: Object) -> None:
        """Say what a controller that serves it would."""
        match value["kind"]:
            case "GatewayClass":
                gateways.gateway_class(self.hand, value)
            case "Gateway":
                gateways.gateway(self.hand, value)
            case _:
                gateways.route(self.hand, value)


@dataclass(slots=True)
class Control:
    """Controllers, scheduler and a scripted kubelet."""

    cluster: Cluster
    script: Callable[[Object], Part] = field(default=lambda pod: Part())
    autoscalers: Autoscalers = field(default_factory=Autoscalers)
    patience: nodes.Patience = field(default_factory=nodes.Patience)
    """How long nodes that are silent are waited for."""
    kubelet: Kubelet = field(init=False)
    """A scripted one, unless another is put in its place."""
    door: Door = field(init=False)
    """One without proxies, unless another is put in its place."""

    def __post_init__(self) -> None:
        self.door = Accepting(Hand(self.cluster, "gateway-controller"))
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
        names = ("kube-controller-manager", "default-scheduler", "keda-operator", "kueue-manager")
        manager, chooser, keda, kueue = (Hand(self.cluster, name) for name in names)
        steps: tuple[tuple[str, Callable[[Object], None]], ...] = (
            ("Node", lambda value: nodes.lifecycle(manager, value, self.patience)),
            ("HorizontalPodAutoscaler", lambda value: self.autoscalers.step(manager, value)),
            ("ScaledObject", lambda value: autoscaling.scaled_object(keda, value)),
            ("Deployment", lambda value: workloads.deployment(manager, value)),
            ("ReplicaSet", lambda value: workloads.replica_set(manager, value)),
            *self._queueing(kueue),
            ("Job", lambda value: workloads.job(manager, value)),
            ("Pod", lambda value: claims.provide(manager, value)),
            ("Pod", lambda value: scheduler.schedule(chooser, value)),
            ("Pod", self.kubelet.step),
            ("Service", lambda value: networks.service(manager, value)),
            ("PodDisruptionBudget", lambda value: networks.budget(manager, value)),
            ("GatewayClass", self.door.step),
            ("HTTPRoute", self.door.step),
            ("GRPCRoute", self.door.step),
            ("Gateway", self.door.step),
        )
        served = {resource.kind for resource in self.cluster.resources}
        for kind, step in (each for each in steps if each[0] in served):
            for value in sorted(manager.list(kind), key=_importance):
                step(value)

    def _queueing(self, kueue: Hand) -> tuple[tuple[str, Callable[[Object], None]], ...]:
        """Kueue's steps, in a cluster that has it: before jobs make pods."""
        if not any(resource.kind == "Workload" for resource in self.cluster.resources):
            return ()
        return (
            ("Job", lambda value: queueing.job(kueue, value)),
            ("Workload", lambda value: queueing.admit(kueue)),
        )


def _importance(value: Object) -> int:
    """Pods of a higher priority are looked at first; everything else stays in its order."""
    return -int(value.get("spec", {}).get("priority") or 0) if value["kind"] == "Pod" else 0


_INFO = {
    "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "6.8.0-60-generic",
    "osImage": "Ubuntu 24.04.2 LTS", "containerRuntimeVersion": "containerd://2.1.4",
    "kubeletVersion": "v1.37.0", "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
}  # fmt: skip


def add_node(
    cluster: Cluster,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **allocatable: str,
) -> Object:
    """A node; underscores in names of resources stand for what cannot be written, `nvidia_com__gpu`."""
    amounts = {"cpu": "4", "memory": "16Gi"} | {
        key.replace("__", "/").replace("_", "."): amount for key, amount in allocatable.items()
    }
    value = {
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **(labels or {})},
            "annotations": dict(annotations or {}),
        },
        "status": {
            "nodeInfo": _INFO,
            "allocatable": amounts,
            "capacity": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    return cluster.create(cluster.kind("Node"), "", value, Options(manager="kubelet"))
