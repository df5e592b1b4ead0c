"""One GPU: tests borrow it, a service has it alone, and the next waits with the reason until it is free."""

from __future__ import annotations

import json

from modelyard.domain.views import State
from tests.scenarios.engines import Engine, InCluster, until
from tests.scenarios.things import ROW, publish_iris

HOLDER = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "holder"},
    "spec": {
        # Else it would be sent away for a service, as the cluster's own rules have it.
        "priorityClassName": "modelyard-serving-high",
        "containers": [
            {"name": "c", "image": "modelyard/x", "command": ["sleep", "600"],
             "resources": {"limits": {"nvidia.com/gpu": "1"}}},
        ],
    },
}  # fmt: skip

IS_CARD = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"
CLAIMED = [
    {"apiVersion": "v1", "kind": "Node",
     "metadata": {"name": "claimed-1", "labels": {"kubernetes.io/hostname": "claimed-1"}}},
    {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "gpu.nvidia.com"},
     "spec": {"selectors": [{"cel": {"expression": IS_CARD}}]}},
    {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "claimed-1"},
     "spec": {"driver": "gpu.nvidia.com", "nodeName": "claimed-1",
              "pool": {"name": "claimed-1", "generation": 1, "resourceSliceCount": 1},
              "devices": [{"name": "gpu-0", "capacity": {"memory": {"value": "15Gi"}},
                           "attributes": {"type": {"string": "gpu"}, "productName": {"string": "Tesla T4"},
                                          "uuid": {"string": "GPU-1"}}}]}},
]  # fmt: skip
STATUS = {
    "status": {
        "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"},
        "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }
}


def test_a_second_service_waits_for_the_only_card_until_the_first_is_gone(engine: Engine) -> None:
    with engine.one_card(), engine.client() as client:
        publish_iris(client, "carded")
        for _ in range(2):
            assert client.test("carded@1", gpu="1").outputs, "a test leaves the card as it was"
        client.deploy("carded@1", name="has-it", gpu=1)
        client.deploy("carded@1", name="wants-it", gpu=1, wait=False)
        until(lambda: "insufficient nvidia.com/gpu" in client.deployments.get("wants-it").message, "it waits")
        view = client.deployments.get("wants-it")
        assert view.state is State.PENDING
        told = [each for each in view.status.conditions if each.reason == "InsufficientResources"]
        assert any("insufficient nvidia.com/gpu: needs 1, free 0" in each.message for each in told)
        assert "insufficient nvidia.com/gpu" in engine.cli("explain", "wants-it")
        client.undeploy("has-it")
        assert client.deployments.wait("wants-it").status.ready_replicas == 1
        if isinstance(engine, InCluster):
            (pod,) = engine.objects("pods", "wants-it")
            assert pod["spec"]["nodeName"] == "gpu-1"
            assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        client.undeploy("wants-it")


def test_a_card_that_somebody_elses_pod_has_is_told_in_the_schedulers_words(engine: Engine) -> None:
    if not isinstance(engine, InCluster):
        engine.cannot("on one machine nobody else gives out cards")
    with engine.one_card(), engine.client() as client:
        path = engine.home / "holder.json"
        path.write_text(json.dumps(HOLDER))
        engine.kubectl("apply", "-n", "default", "-f", str(path))
        until(
            lambda: '"nodeName": "gpu-1"' in engine.kubectl("get", "pod", "holder", "-o", "json"),
            "it is held",
        )
        publish_iris(client, "foreign")
        client.deploy("foreign@1", name="waits-for-others", gpu="1(T4)", wait=False)

        def said() -> bool:
            view = client.deployments.get("waits-for-others")
            return view.state is State.PENDING and "1 Insufficient nvidia.com/gpu" in view.message

        until(said, "the scheduler's reason is told")
        engine.kubectl("delete", "pod", "holder", "--wait=false")
        assert client.deployments.wait("waits-for-others").status.ready_replicas == 1
        client.undeploy("waits-for-others")


def test_a_card_that_is_claimed_serves_one_and_then_the_next(engine: Engine) -> None:
    if not isinstance(engine, InCluster) or engine.process is None:
        engine.cannot(
            "cards are claimed from a cluster's drivers only, and nobody puts one into a cluster of others"
        )
    path = engine.home / "claimed.yaml"
    path.write_text("\n---\n".join(map(json.dumps, CLAIMED)))
    try:
        engine.kubectl("create", "-f", str(path))
        engine.kubectl(
            "patch", "node", "claimed-1", "--subresource=status", "--type=merge", "-p", json.dumps(STATUS)
        )
        # What a cluster can do is asked anew every five minutes, and at the start.
        engine.platform.interrupt()
        engine.platform.start()
        with engine.client() as client:
            publish_iris(client, "claims")
            until(
                lambda: "Tesla T4" in engine.cli("node", "show", "claimed-1"), "its card is seen", seconds=120
            )
            client.deploy("claims@1", name="claims-it", gpu="1(T4)")
            (claim,) = engine.objects("resourceclaims")
            assert claim["status"]["allocation"]["devices"]["results"][0]["device"] == "gpu-0"
            client.deploy("claims@1", name="claims-next", gpu="1(T4)", wait=False)
            until(
                lambda: (
                    "insufficient nvidia.com/gpu of type T4" in client.deployments.get("claims-next").message
                ),
                "the next waits",
            )
            client.undeploy("claims-it")
            assert client.deployments.wait("claims-next").status.ready_replicas == 1
            client.undeploy("claims-next")
            until(lambda: not engine.objects("resourceclaims"), "no claim is left")
            assert not engine.objects("resourceclaimtemplates")
    finally:
        for kind, name in (
            ("node", "claimed-1"),
            ("resourceslice", "claimed-1"),
            ("deviceclass", "gpu.nvidia.com"),
        ):
            engine.kubectl("delete", kind, name, code=None)


def test_a_service_that_asks_for_a_card_later_is_redeployed_with_it(engine: Engine) -> None:
    with engine.one_card(), engine.client() as client:
        publish_iris(client, "grows")
        client.deploy("grows@1", name="grows")
        (before,) = engine.replicas("grows")
        client.deploy("grows@1", name="grows", gpu=1, memory="1Gi")
        view = client.deployments.get("grows")
        (after,) = (each for each in view.status.replicas if each.revision == 2)
        assert (view.revision, view.spec.resources.gpu, view.spec.resources.memory) == (2, "1", "1Gi")
        assert after.name != before.name
        assert len(after.gpus) == 1
        assert client.service("grows").predict([ROW])["label"].tolist()
        if isinstance(engine, InCluster):
            until(lambda: len(engine.objects("pods", "grows")) == 1, "the one without a card is gone")
            (pod,) = engine.objects("pods", "grows")
            assert pod["spec"]["nodeName"] == "gpu-1"
            limits = pod["spec"]["containers"][0]["resources"]["limits"]
            assert (limits["nvidia.com/gpu"], limits["memory"]) == ("1", str(1 << 30))
        client.undeploy("grows")
