"""Autoscalers look once in a while, go by what pods use, and say why when they cannot."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.manifests import deployment
from tests.support.cluster import crds, schemas, verbs
from tests.support.cluster.autoscaling import Autoscalers
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.measuring import Usage
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import condition

BY_TEST = Options(manager="test")


class Scene:
    """A deployment of one container with half a core, and an autoscaler of it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        extra = [each for each, _ in crds.KEDA]
        cluster = Cluster(schemas.load("1.37", crds.KEDA), clock=lambda: self.now, extra=extra)
        add_node(cluster, "one", cpu="64")
        self.control = Control(cluster)
        self.cores = 0.25
        self.control.autoscalers = Autoscalers(measure=lambda pod: {"server": Usage(self.cores, 1 << 20)})

    @property
    def cluster(self) -> Cluster:
        return self.control.cluster

    def create(self, value: Object) -> None:
        self.cluster.create(self.cluster.kind(value["kind"]), "default", value, BY_TEST)

    def begin(self, replicas: int, **changes: Any) -> None:
        made = deployment(replicas=replicas)
        [container] = made["spec"]["template"]["spec"]["containers"]
        container["name"] = "server"
        container["resources"] = {"requests": {"cpu": "500m"}}
        self.create(made)
        use = {"type": "Utilization", "averageUtilization": 50}
        inside = {"name": "cpu", "container": "server", "target": use}
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "demo-r1"},
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [{"type": "ContainerResource", "containerResource": inside}],
            **changes,
        }
        self.control.settle()
        self.create({"kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec})

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            self.control.settle()

    @property
    def replicas(self) -> int:
        found = self.cluster.read(self.cluster.kind("Deployment"), ("default", "demo-r1"))
        return int(found["spec"]["replicas"])

    def said(self, kind: str, name: str = "h") -> Object:
        found = self.cluster.read(self.cluster.kind("HorizontalPodAutoscaler"), ("default", name))
        return condition(found["status"], kind)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_it_goes_by_what_the_container_uses_of_what_it_asks_for(scene: Scene) -> None:
    scene.begin(2)
    scene.wait(20)
    assert scene.replicas == 2
    scene.cores = 0.5
    scene.wait(20)
    assert scene.replicas == 4
    found = scene.cluster.read(scene.cluster.kind("HorizontalPodAutoscaler"), ("default", "h"))
    [metric] = found["status"]["currentMetrics"]
    assert metric["containerResource"]["current"]["averageUtilization"] == 100
    owners = scene.cluster.read(scene.cluster.kind("Deployment"), ("default", "demo-r1"))["metadata"]
    assert "kube-controller-manager" in {each["manager"] for each in owners["managedFields"]}


def test_it_goes_down_when_nothing_called_for_more_during_the_window(scene: Scene) -> None:
    scene.begin(4, behavior={"scaleDown": {"stabilizationWindowSeconds": 60}})
    scene.wait(20)
    scene.cores = 0.05
    scene.wait(40)
    assert scene.replicas == 4
    scene.wait(60)
    assert scene.replicas == 1


def test_it_goes_up_by_a_policy_at_a_time(scene: Scene) -> None:
    policies = [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    scene.begin(2, behavior={"scaleUp": {"policies": policies}})
    scene.cores = 0.5
    scene.wait(50)
    assert scene.replicas == 3


def test_it_says_that_it_would_go_farther(scene: Scene) -> None:
    scene.begin(2, maxReplicas=3)
    scene.cores = 0.5
    scene.wait(40)
    assert scene.replicas == 3
    assert scene.said("ScalingLimited")["reason"] == "TooManyReplicas"


def test_it_says_why_it_cannot_measure_and_changes_nothing(scene: Scene) -> None:
    scene.begin(2)
    scene.control.autoscalers.measure = lambda pod: {}
    scene.wait(40)
    assert scene.replicas == 2
    assert scene.said("ScalingActive")["status"] == "False"


def test_it_does_nothing_for_what_is_scaled_to_none(scene: Scene) -> None:
    scene.begin(0)
    scene.wait(40)
    assert scene.replicas == 0
    assert scene.said("ScalingActive")["reason"] == "ScalingDisabled"


def test_an_object_of_keda_becomes_an_autoscaler_that_asks_its_prometheus(scene: Scene) -> None:
    asked: list[str] = []

    def asking(text: str) -> float:
        asked.append(text)
        return 30.0

    scene.control.autoscalers.query = asking
    made = deployment(replicas=2)
    scene.create(made)
    metadata = {"serverAddress": "http://prometheus:9090", "query": "sum(x)", "threshold": "8"}
    spec = {
        "scaleTargetRef": {"name": "demo-r1"},
        "minReplicaCount": 1,
        "maxReplicaCount": 5,
        "triggers": [{"type": "prometheus", "metricType": "AverageValue", "metadata": metadata}],
    }
    value = {"kind": "ScaledObject", "metadata": {"name": "demo-r1"}, "spec": spec}
    value["apiVersion"] = "keda.sh/v1alpha1"
    scene.cluster.patch(
        scene.cluster.kind("ScaledObject"), ("default", "demo-r1"), verbs.APPLY, value, BY_TEST
    )
    scene.wait(40)
    assert scene.replicas == 4
    assert set(asked) == {"sum(x)"}
    assert scene.said("ScalingActive", "keda-hpa-demo-r1")["status"] == "True"
