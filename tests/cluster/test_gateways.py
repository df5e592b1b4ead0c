"""Gateway API and KEDA as clusters have them: schemas, and an implementation that says what it serves."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.cluster import crds, gateways, schemas
from tests.support.cluster.control import Control
from tests.support.cluster.gpus import add_gpu_node
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.verbs import APPLY, Cluster, Options
from tests.support.cluster.writing import condition

Object = dict[str, Any]
EXTRA = (*crds.GATEWAY_API, *crds.KEDA)


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster(schemas.load("1.37", EXTRA), clock=time.time, extra=[each for each, _ in EXTRA])
    create(made, "GatewayClass", "envoy", {"controllerName": gateways.IMPLEMENTATIONS["envoy"].controller})
    create(made, "Namespace", "team", labels={"modelyard.dev/project": "team"})
    selector = {"matchLabels": {"modelyard.dev/project": "team"}}
    allowed = {"namespaces": {"from": "Selector", "selector": selector}}
    listener = {
        "name": "http",
        "port": 80,
        "protocol": "HTTP",
        "hostname": "*.example.com",
        "allowedRoutes": allowed,
    }
    create(made, "Gateway", "door", {"gatewayClassName": "envoy", "listeners": [listener]}, "default")
    ports = {"ports": [{"port": 80}]}
    create(made, "Service", "one", ports, "team")
    create(made, "Service", "two", ports, "default")
    return made


def create(
    made: Cluster, kind: str, name: str, spec: Object | None = None, namespace: str = "", **metadata: Any
) -> None:
    value = {"metadata": {"name": name, **metadata}, **({"spec": spec} if spec is not None else {})}
    made.create(made.kind(kind), namespace, value, Options(manager="test"))


def route(host: str = "a.example.com", *, service: str = "one", namespace: str = "", **more: Any) -> Object:
    backend = {"name": service, "port": 80, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "team"},
        "spec": {
            "parentRefs": [{"name": "door", "namespace": "default"}],
            "hostnames": [host],
            "rules": [{"backendRefs": [backend], **more}],
        },
    }


def _matching(**match: Any) -> Object:
    return {"rules": [{"matches": [match]}]}


def applied(made: Cluster, value: Object) -> Object:
    name = (value["metadata"]["namespace"], value["metadata"]["name"])
    made.patch(made.kind(value["kind"]), name, APPLY, value, Options(manager="test", force=True))
    Control(made).settle()
    found = made.store.get(made.kind(value["kind"]), name)
    assert found is not None
    return found


def said(value: Object, kind: str) -> tuple[str, str]:
    found = condition(value["status"]["parents"][0], kind)
    return found["status"], found["reason"]


def test_a_class_says_what_it_can_and_a_gateway_is_programmed(cluster: Cluster) -> None:
    found = applied(cluster, route())
    assert said(found, "Accepted") == ("True", "Accepted")
    assert said(found, "ResolvedRefs") == ("True", "ResolvedRefs")
    (made,) = cluster.store.list(cluster.kind("GatewayClass"))
    assert {"name": "HTTPRouteRequestPercentageMirror"} in made["status"]["supportedFeatures"]
    (door,) = cluster.store.list(cluster.kind("Gateway"))
    assert condition(door["status"], "Programmed")["status"] == "True"
    assert door["status"]["listeners"][0]["attachedRoutes"] == 1


def test_a_route_that_is_not_served_says_why(cluster: Cluster) -> None:
    elsewhere = applied(cluster, route("a.example.org"))
    assert said(elsewhere, "Accepted") == ("False", "NoMatchingListenerHostname")
    assert said(applied(cluster, route(service="none")), "ResolvedRefs") == ("False", "BackendNotFound")
    foreign = route(service="two", namespace="default")
    assert said(applied(cluster, foreign), "ResolvedRefs") == ("False", "RefNotPermitted")
    grant = {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "team"}],
        "to": [{"group": "", "kind": "Service"}],
    }
    create(cluster, "ReferenceGrant", "g", grant, "default")
    assert said(applied(cluster, foreign), "ResolvedRefs") == ("True", "ResolvedRefs")
    create(cluster, "Namespace", "other")
    moved = route()
    moved["metadata"]["namespace"] = "other"
    assert said(applied(cluster, moved), "Accepted") == ("False", "NotAllowedByListeners")


def test_what_the_schemas_do_not_know_is_refused(cluster: Cluster) -> None:
    for wrong, words in (
        (route(retry={"attempts": 3}), ".spec.rules[0].retry: field not declared in schema"),
        (route(filters=[{"type": "Mirror"}]), "Unsupported value: 'Mirror'"),
        (route(matches=[{}] * 65), "must have at most 64 items"),
    ):
        with pytest.raises(Refusal) as refused:
            applied(cluster, wrong)
        assert words in refused.value.message
    scaled = {
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "s", "namespace": "team"},
        "spec": {"scaleTargetRef": {"name": "d"}, "triggers": [{"type": "prometheus"}]},
    }  # fmt: skip
    with pytest.raises(Refusal) as refused:
        applied(cluster, scaled)
    assert "spec.triggers[0].metadata: Required value" in refused.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hostnames": ["A.example.com"]}, "spec.hostnames[0] in body should match"),
        ({"hostnames": ["a..example.com"]}, "spec.hostnames[0] in body should match"),
        ({"hostnames": ["*.*.example.com"]}, "spec.hostnames[0] in body should match"),
        ({"hostnames": ["a." * 126 + "ab"]}, "spec.hostnames[0]: Too long: may not be more than 253"),
        ({"hostnames": [f"h{n}.example.com" for n in range(17)]}, "spec.hostnames: Too many: 17"),
        ({"rules": []}, "spec.rules in body should have at least 1 items"),
        ({"rules": [{}] * 17}, "spec.rules: Too many: 17: must have at most 16 items"),
        ({"rules": [{"matches": [{}] * 65}]}, "matches: Too many: 65"),
        ({"rules": [{"backendRefs": [{"name": "one", "port": 0}]}]}, "should be greater than or equal to 1"),
        ({"rules": [{"backendRefs": [{"name": "one", "port": 65536}]}]}, "less than or equal to 65535"),
        (
            {"rules": [{"backendRefs": [{"name": "one", "weight": 1_000_001}]}]},
            "or equal to 1000000",
        ),
        ({"rules": [{"backendRefs": [{"name": "one", "weight": -1}]}]}, "greater than or equal to 0"),
        ({"rules": [{"backendRefs": [{"name": "", "port": 1}]}]}, "name in body should be at least 1 chars"),
        (_matching(path={"value": "/" + "a" * 1024}), "path.value: Too long: may not be more than 1024"),
        (_matching(headers=[{"name": "a b", "value": "x"}]), "name in body should match"),
        (_matching(headers=[{"name": "a", "value": ""}]), "value in body should be at least 1 chars long"),
        (_matching(headers=[{"name": f"h{n}", "value": "x"} for n in range(17)]), "headers: Too many: 17"),
        (_matching(method="LIST"), "Unsupported value: 'LIST'"),
        ({"rules": [{"timeouts": {"request": "1d"}}]}, "timeouts.request in body should match"),
        ({"rules": [{"timeouts": {"request": "123456s"}}]}, "timeouts.request in body should match"),
    ],
)
def test_what_the_released_resources_refuse_is_refused(cluster: Cluster, change: Object, said: str) -> None:
    value = route()
    value["spec"] |= change
    with pytest.raises(Refusal) as refused:
        applied(cluster, value)
    assert refused.value.code == 422
    assert said in refused.value.message


def test_what_a_class_cannot_is_not_among_its_features() -> None:
    assert "HTTPRouteRequestMirror" not in gateways.IMPLEMENTATIONS["traefik"].features
    assert "HTTPRouteRequestTimeout" not in gateways.IMPLEMENTATIONS["nginx"].features
    assert gateways.covers("*.example.com", "test.a.example.com")
    assert not gateways.covers("*.example.com", "example.com")


def test_a_node_with_gpus_has_labels_and_amounts() -> None:
    made = Cluster(schemas.load("1.37"), clock=time.time)
    whole = add_gpu_node(made, "whole", "h100", count=8)
    assert whole["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert whole["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    sliced = add_gpu_node(made, "sliced", "a100", slices={"1g.5gb": 7})
    assert sliced["status"]["allocatable"]["nvidia.com/mig-1g.5gb"] == "7"
    assert "nvidia.com/gpu" not in sliced["status"]["allocatable"]
    shared = add_gpu_node(made, "shared", "t4", shared=4)
    assert shared["status"]["allocatable"]["nvidia.com/gpu"] == "4"
    assert shared["metadata"]["labels"]["nvidia.com/gpu.product"] == "Tesla-T4-SHARED"
