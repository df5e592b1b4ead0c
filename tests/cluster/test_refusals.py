"""What the API server does not take, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.manifests import config, deployment, pod_spec
from tests.support.cluster import schemas, verbs
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.verbs import Cluster, Options


def create(there: Cluster, value: dict[str, Any], namespace: str = "default") -> Any:
    return there.create(there.kind(value["kind"]), namespace, value, Options(manager="test"))


@pytest.fixture(params=schemas.VERSIONS[::3])
def there(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(schemas.load(request.param), clock=lambda: 0.0)


def pod(name: str = "p", **container: Any) -> dict[str, Any]:
    spec = pod_spec()
    spec["containers"][0] |= container
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def gpus(requests: str, limits: str) -> dict[str, Any]:
    return {"requests": {"nvidia.com/gpu": requests}, "limits": {"nvidia.com/gpu": limits}}


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (deployment(replcas=1), 400, 'unknown field "spec.replcas"'),
        (deployment(replicas="two"), 422, "spec.replicas: Invalid value"),
        (deployment(name="Demo"), 422, "RFC 1123"),
        (deployment(selector={"matchLabels": {"app": "other"}}), 422, "does not match template"),
        (pod(image=""), 422, "spec.containers[0].image: Required value"),
        (pod(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}), 422, "less than or equal to cpu"),
        (pod(resources={"limits": {"memory": "1e9Gi"}}), 422, "quantities must match"),
        (pod(resources=gpus("0.5", "0.5")), 422, "must be an integer"),
        (pod(resources=gpus("1", "2")), 422, "must be equal to nvidia.com/gpu limit"),
        (pod(volumeMounts=[{"name": "no", "mountPath": "/x"}]), 422, 'Not found: "no"'),
        (pod(volumeMounts=[{"name": "no", "mountPath": "/a:b"}]), 422, "must not contain ':'"),
        (pod(env=[{"name": "A"}, {"name": "A"}]), 422, "Duplicate value"),
    ],
)
def test_mistakes_are_named(there: Cluster, value: dict[str, Any], code: int, words: str) -> None:
    with pytest.raises(Refusal) as told:
        create(there, value)
    assert told.value.code == code
    assert words in told.value.message


TWICE = 'spec.containers[name="main"].'


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "1"}]}, 'env: … [name="A"]'),
        (
            {"volumeMounts": [{"name": name, "mountPath": "/x"} for name in "ab"]},
            'volumeMounts: … [mountPath="/x"]',
        ),
        (
            {"ports": [{"containerPort": 1}, {"containerPort": 1, "protocol": "TCP"}]},
            'ports: … [containerPort=1,protocol="TCP"]',
        ),
    ],
)
def test_an_apply_has_no_item_of_a_keyed_list_twice(
    there: Cluster, container: dict[str, Any], words: str
) -> None:
    value = pod(**container)
    with pytest.raises(Refusal) as told:
        there.patch(there.kind("Pod"), ("default", "p"), verbs.APPLY, value, Options(manager="test"))
    assert told.value.code == 500
    assert told.value.message == (
        "failed to create typed patch object (default/p; /v1, Kind=Pod): ."
        + TWICE
        + words.replace("…", "duplicate entries for key")
    )


def test_a_selector_never_changes(there: Cluster) -> None:
    create(there, deployment())
    changed = deployment(selector={"matchLabels": {"app": "demo", "x": "y"}})
    changed["spec"]["template"]["metadata"]["labels"]["x"] = "y"
    with pytest.raises(Refusal, match=r"spec.selector: Invalid value: field is immutable"):
        there.replace(there.kind("Deployment"), ("default", "demo-r1"), changed, Options())


def test_a_namespace_must_exist_and_must_not_be_ending(there: Cluster) -> None:
    with pytest.raises(Refusal, match='namespaces "nowhere" not found'):
        create(there, config(), "nowhere")


def test_a_quota_says_what_was_asked_used_and_allowed(there: Cluster) -> None:
    hard = {"requests.nvidia.com/gpu": "1"}
    create(there, {"kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}})
    create(there, pod("one", resources=gpus("1", "1")))
    with pytest.raises(Refusal) as told:
        create(there, pod("two", resources=gpus("1", "1")))
    assert told.value.code == 403
    assert (
        "exceeded quota: q, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1, "
        "limited: requests.nvidia.com/gpu=1"
    ) in told.value.message


def test_restricted_pod_security_wants_everything_said(there: Cluster) -> None:
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    create(there, {"kind": "Namespace", "metadata": {"name": "safe", "labels": level}}, "")
    with pytest.raises(Refusal, match=r"violates PodSecurity .restricted:latest.*runAsNonRoot"):
        create(there, pod(), "safe")
    careful = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    create(there, pod(securityContext=careful), "safe")


def test_node_ports_come_from_their_range_and_only_once(there: Cluster) -> None:
    def service(name: str, **port: int) -> dict[str, Any]:
        return {
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"type": "NodePort", "ports": [{"port": 80, **port}]},
        }

    with pytest.raises(Refusal, match="30000-32767"):
        create(there, service("far", nodePort=38_080))
    ports = [create(there, service(name))["spec"]["ports"][0]["nodePort"] for name in ("a", "b")]
    assert len(set(ports)) == 2
