"""What `doctor gpu --cluster` says of each layer below a GPU, from objects that a cluster has."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.kubernetes.capabilities import Capabilities, Gpus
from modelyard.domain import cards
from modelyard.gateway.gateway_api.planning import Feature, Where
from modelyard.installing import examining, offered
from modelyard.installing.gpus import fixes, stack
from modelyard.installing.gpus.stack import Seen
from modelyard.installing.running import Target
from tests.kubernetes.worlds import world
from tests.support.cluster.gpus import add_gpu_node
from tests.support.cluster.verbs import Options
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[3]
INFO = {"kubeletVersion": "v1.34.1", "containerRuntimeVersion": "containerd://2.1.4"}
FOUND = Capabilities(gpus=Gpus(products=frozenset({"Tesla-T4"}), runtime_class="nvidia"))


def node(name: str = "a", *, free: str = "1", info: dict[str, str] | None = None, **labels: str) -> Any:
    said = {"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/cuda.driver-version.full": "580.95.05"}
    said |= {"nvidia.com/cuda.runtime-version.full": "13.0"}
    said |= {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()}
    status = {"nodeInfo": INFO if info is None else info, "allocatable": {"nvidia.com/gpu": free}}
    return {"metadata": {"name": name, "labels": said}, "status": status}


def daemon(name: str, *, ready: int = 1, wanted: int = 1, namespace: str = "gpu-operator") -> Any:
    status = {"numberReady": ready, "desiredNumberScheduled": wanted}
    return {"metadata": {"name": name, "namespace": namespace}, "status": status}


PLUGIN = daemon("nvidia-device-plugin-daemonset")


def checked(*nodes: Any, daemons: tuple[Any, ...] = (PLUGIN,), **more: Any) -> dict[str, Any]:
    return {each.name: each for each in stack.checks(Seen(found=FOUND, nodes=nodes, daemons=daemons, **more))}


def test_a_stack_that_is_whole_is_well() -> None:
    operator = daemon("nvidia-operator-validator")
    toolkit = daemon("nvidia-container-toolkit-daemonset")
    found = checked(node(), daemons=(PLUGIN, operator, toolkit))
    assert all(each.ok for each in found.values()), found
    assert found["versions"].message == "a: kubelet v1.34.1, containerd 2.1.4"
    assert found["driver"].message == "a: driver 580.95.05, CUDA 13.0"
    assert (
        "by the GPU Operator in gpu-operator, registered with the kubelet" in found["device plugin"].message
    )
    assert found["container toolkit"].message.endswith("1 of 1 ready")


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"containerRuntimeVersion": "docker://20.10.0"}, "dropped with 1.24; change the node to containerd"),
        ({"containerRuntimeVersion": "containerd://1.6.8"}, "upgrade it to 1.7 or newer"),
        ({"kubeletVersion": "v1.28.3"}, "upgrade the node to 1.31 or newer"),
    ],
)
def test_versions_that_are_too_old_are_named_with_their_node(info: dict[str, str], words: str) -> None:
    found = checked(node(info={**INFO, **info}))["versions"]
    assert not found.ok
    assert found.message.startswith("a: ")
    assert words in found.message


def test_versions_that_nobody_tells_are_no_failure() -> None:
    assert checked(node(info={}))["versions"].ok


def test_a_driver_that_is_older_than_our_image_needs_fails() -> None:
    found = checked(node(nvidia_com__cuda_driver_version_full="x"), node("b"))
    assert found["driver"].ok
    old = node("old")
    old["metadata"]["labels"]["nvidia.com/cuda.driver-version.full"] = "535.261.03"
    found = checked(old, node("b"))
    assert not found["driver"].ok
    assert "old: driver 535.261.03 is too old for CUDA 13" in found["driver"].message


def test_the_driver_that_is_asked_for_is_that_of_the_image() -> None:
    lock = (ROOT / "locks/cuda.lock").read_text()
    assert "nvidia-cudnn-cu13==" in lock, "another CUDA needs another DRIVER_FOR_IMAGE"
    assert stack.DRIVER_FOR_IMAGE == 580


def test_a_plugin_that_has_not_registered_tells_what_it_wrote_and_where_its_socket_is() -> None:
    logs = {("gpu-operator", "nvidia-device-plugin-daemonset"): "x: no NVML found"}
    found = checked(node("good"), node("bad", free="0"), logs=logs)
    assert not found["device plugin"].ok
    assert "it wrote last: x: no NVML found" in found["device plugin"].message
    assert "/var/lib/kubelet/device-plugins/nvidia-gpu.sock" in found["device plugin"].message
    assert not found["allocatable"].ok
    assert "nothing for pods on bad" in found["allocatable"].message
    assert "good: 1 nvidia.com/gpu" in found["allocatable"].message


def test_daemons_that_are_not_ready_fail_with_how_to_see_more() -> None:
    lame = daemon("nvidia-container-toolkit-daemonset", ready=0)
    nowhere = daemon("nvdp-nvidia-device-plugin", ready=0, wanted=0, namespace="kube-system")
    found = checked(node(), daemons=(lame, nowhere))
    assert not found["container toolkit"].ok
    assert "daemonset/nvidia-container-toolkit-daemonset" in found["container toolkit"].message
    assert not found["device plugin"].ok
    assert "wanted on no node: its node selector fits none" in found["device plugin"].message


def test_plugins_of_others_are_none_of_ours() -> None:
    others = [daemon("amdgpu-device-plugin-daemonset"), daemon("rdma-shared-device-plugin")]
    assert stack.plugins(others) == ()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (node(microk8s_io__cluster="true"), "microk8s enable nvidia"),
        (node(info={"kubeletVersion": "v1.34.1+k3s1"}), "restart k3s"),
        (node(), "helm install gpu-operator"),
    ],
)
def test_the_remedy_is_that_of_the_distribution(made: Any, words: str) -> None:
    assert words in fixes.stack([made])


@pytest.mark.parametrize(
    ("label", "name", "same"),
    [
        ("Tesla-T4", "Tesla T4", True),
        ("Tesla-T4-SHARED", "Tesla T4", True),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "NVIDIA A100-SXM4-40GB", True),
        ("NVIDIA-GeForce-RTX-4090", "NVIDIA GeForce RTX 4090", True),
        ("Tesla-T4", "NVIDIA L4", False),
        ("NVIDIA-L4", "NVIDIA L40", False),
    ],
)
def test_labels_are_compared_with_what_the_driver_calls_a_card(label: str, name: str, same: bool) -> None:
    assert cards.is_product(label, name) is same


def test_lists_of_cards_are_read_with_their_parts() -> None:
    text = (
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa-1)\n"
        "  MIG 1g.5gb      Device  0: (UUID: MIG-bb-2)\n"
        "GPU 1: Tesla T4 (UUID: GPU-cc-3)\n"
    )
    first, second = cards.listed(text)
    assert first.words == "NVIDIA A100-SXM4-40GB, MIG 1g.5gb (GPU-aa-1)"
    assert second.words == "Tesla T4 (GPU-cc-3)"
    assert cards.listed("No devices were found") == ()


def test_everything_of_routing_has_somebody_who_does_it() -> None:
    features = frozenset({"HTTPRouteRequestMirror"})
    served = frozenset({"gateway.networking.k8s.io/v1/httproutes"})
    known = Capabilities(resources=served, gateway_class="envoy", gateway_features=features)
    where = {each.feature: each.where for each in offered.decisions(known)}
    assert where.keys() == set(Feature)
    assert where[Feature.WEIGHTS] is where[Feature.MIRROR] is Where.GATEWAY
    assert where[Feature.TOKENS] is where[Feature.TIMEOUT] is Where.ROUTER
    told = {each.name: each.message for each in offered.checks(known)}
    assert told["routing: mirror"] == "gateway (envoy)"
    assert told["routing: access tokens"] == "builtin router: Gateway API v1 cannot express it"
    assert "does not support HTTPRouteRequestTimeout" in told["routing: time-out"]
    without = {each.name: each.message for each in offered.checks(Capabilities())}
    assert without["routing: weights"] == "builtin router: the cluster does not serve the Gateway API"
    unready = offered.checks(Capabilities(resources=served))
    assert "no GatewayClass that its controller accepted" in unready[0].message


async def test_a_plugin_of_a_cluster_that_is_not_ready_is_asked_for_its_log(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        cluster = here.there.cluster
        add_gpu_node(cluster, "t4", count=0)
        how = Options(manager="test")
        labels = {"name": "nvidia-device-plugin-ds"}
        said = "echo starting; echo 'No devices found. Waiting indefinitely.'; sleep 60"
        container = {"name": "c", "image": "modelyard/plugin", "command": ["sh", "-c", said]}
        probe = {"readinessProbe": {"exec": {"command": ["false"]}}}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        made = {
            "metadata": {"name": "nvidia-device-plugin-daemonset"},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }
        cluster.create(cluster.kind("DaemonSet"), "kube-system", made, how)
        pod = {
            "metadata": {"name": "plugin-x", "labels": labels},
            "spec": {"containers": [container | probe]},
        }
        cluster.create(cluster.kind("Pod"), "kube-system", pod, how)
        target = Target(environ={}, kubeconfig=str(here.kubeconfig), timeout_seconds=20.0)
        end = time.monotonic() + PATIENCE
        while True:
            found = {each.name: each for each in await examining.asked(target, gpus=True)}
            if "Waiting" in found["device plugin"].message:
                break
            assert time.monotonic() < end, found["device plugin"]
    assert (
        "it wrote last: plugin-x: No devices found. Waiting indefinitely." in found["device plugin"].message
    )
