"""What follows load in the cluster's place: an HPA, KEDA's object, or the reason why there is neither."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from modelyard.backends.base import Rule, Unable
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.scaler import Scaled, scaler
from modelyard.domain.autoscaling import Autoscaling, Scaler
from modelyard.domain.deployment import Key
from tests.support.cluster import crds, schemas, verbs
from tests.support.cluster.verbs import Cluster, Options

METRICS = "metrics.k8s.io/v1beta1/pods"
KEDA = "keda.sh/v1alpha1/scaledobjects"
GPU = "custom.metrics.k8s.io/v1beta1/pods/modelyard_gpu_utilization"
PROMETHEUS = Settings(prometheus_url="http://prometheus.monitoring:9090")
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "modelyard-svc-churn", "uid": "1"}


def rendered(on: str, *resources: str, settings: Settings = PROMETHEUS, **changes: Any) -> Manifest | Unable:
    scaling = Autoscaling(min=2, max=8, on=on, **changes)
    rule = Rule(key=Key("vision", "churn"), revision=7, least=2, most=8, scaling=scaling)
    scaled = Scaled(rule=rule, namespace="modelyard-vision", owner=OWNER)
    return scaler(scaled, Capabilities(version=(1, 37), resources=frozenset(resources)), settings)


def spec(found: Manifest | Unable) -> dict[str, Any]:
    assert not isinstance(found, Unable), found
    return dict(found["spec"])


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_version_takes_the_hpa(version: str) -> None:
    found = rendered("cpu:50%,mem:80%,gpu:50%", METRICS, GPU)
    assert not isinstance(found, Unable)
    kubernetes_validate.validate(found, version, strict=True)
    assert found["kind"] == "HorizontalPodAutoscaler"


def test_an_hpa_follows_the_container_that_answers() -> None:
    made = spec(rendered("cpu:50%,gpu:70%", METRICS, GPU, up_seconds=30.0))
    assert made["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "churn-r7"}
    assert (made["minReplicas"], made["maxReplicas"]) == (2, 8)
    cpu, gpu = made["metrics"]
    assert cpu["containerResource"] == {
        "name": "cpu", "container": "server", "target": {"type": "Utilization", "averageUtilization": 50},
    }  # fmt: skip
    assert gpu["pods"]["target"] == {"type": "AverageValue", "averageValue": "70"}
    assert made["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 30
    assert made["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


def test_a_cluster_with_keda_takes_its_object() -> None:
    extra = [resource for resource, _ in crds.KEDA]
    there = Cluster(schemas.load("1.37", crds.KEDA), clock=lambda: 0.0, extra=extra)
    space = {"metadata": {"name": "modelyard-vision"}}
    there.create(there.kind("Namespace"), "", space, Options(manager="test"))
    found = rendered("concurrency:8,qps:100,gpu:50%,cpu:60%", METRICS, KEDA, by=Scaler.CLUSTER)
    assert not isinstance(found, Unable)
    strict = Options(manager="modelyard", force=True, validation="Strict")
    there.patch(there.kind("ScaledObject"), ("modelyard-vision", "churn-r7"), verbs.APPLY, found, strict)
    queries = [each["metadata"].get("query", "") for each in found["spec"]["triggers"]]
    assert 'service="churn"' in queries[0]
    assert "requests_total" in queries[1]
    assert 'pod=~"churn-r7-.*"' in queries[2]
    assert found["spec"]["triggers"][3] == {
        "type": "cpu", "metricType": "Utilization", "metadata": {"value": "60", "containerName": "server"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (rendered("concurrency:8", METRICS, KEDA), "is measured at the platform's gateway"),
        (rendered("cpu:50%"), "would need the metrics API"),
        (rendered("gpu:50%", METRICS), "modelyard_gpu_utilization"),
        (rendered("qps:9", METRICS, by=Scaler.CLUSTER), "would need KEDA"),
        (rendered("qps:9", KEDA, by=Scaler.CLUSTER, settings=Settings()), "kubernetes.prometheus_url"),
        (rendered("qps:9,cpu:50%", KEDA, by=Scaler.CLUSTER), "need the metrics API"),
    ],
)
def test_what_the_cluster_lacks_is_said(found: Manifest | Unable, message: str) -> None:
    assert isinstance(found, Unable)
    assert message in found.message
