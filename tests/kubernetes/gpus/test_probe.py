"""What a cluster can do is found out by asking it; what it does not answer is unknown."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.nodes import class_labels, node_of
from modelyard.backends.kubernetes.probe import described, probe
from modelyard.domain.errors import Forbidden
from modelyard.domain.node import NodeClass
from modelyard.installing import examining, rendering, values
from modelyard.installing.running import Target
from tests.support.cluster import verbs
from tests.support.cluster.control import add_node
from tests.support.cluster.gpus import add_gpu_node
from tests.support.cluster.running import running

SYSTEM = "modelyard-system"


async def test_everything_is_asked_and_nothing_is_made(tmp_path: Path) -> None:
    async with running() as there:
        add_gpu_node(there.cluster, "t4", "t4", count=2)
        access = config.load({}, kubeconfig=str(there.kubeconfig(tmp_path)))
        cluster = Cluster(access, clock=time.time)
        try:
            found = await probe(cluster, known=Capabilities())
            assert found.version >= (1, 37)
            assert found.gpus.products == {"Tesla-T4"}
            assert found.has_dra
            assert not found.has_keda
            assert not found.has_gateway
            assert found.takes_images
            assert described(found)["GPU cards"] == "Tesla-T4"
            assert there.cluster.store.list(there.cluster.kind("Pod")) == []
            assert there.cluster.store.list(there.cluster.kind("HorizontalPodAutoscaler")) == []
        finally:
            await cluster.close()


async def test_a_cluster_that_does_not_know_image_volumes_says_no(tmp_path: Path) -> None:
    async with running("1.31") as there:
        access = config.load({}, kubeconfig=str(there.kubeconfig(tmp_path)))
        cluster = Cluster(access, clock=time.time)
        try:
            found = await probe(cluster, known=Capabilities())
            assert found.version == (1, 31)
            assert not found.has_dra
            assert found.takes_images is False
            assert not found.mounts_images
        finally:
            await cluster.close()


async def test_a_cluster_that_is_gone_is_unknown_and_no_crash(tmp_path: Path) -> None:
    async with running() as there:
        access = config.load({}, kubeconfig=str(there.kubeconfig(tmp_path)))
    cluster = Cluster(access, clock=time.time)
    known = Capabilities(version=(1, 36), resources=frozenset({"keda.sh/v1alpha1/scaledobjects"}))
    try:
        found = await probe(cluster, known=known)
    finally:
        await cluster.close()
    assert found.version == (1, 36)
    assert found.has_keda
    assert found.takes_images is None
    assert {what for what, _ in found.unknown} >= {"version", "served kinds", "image volumes", "nodes"}


@pytest.mark.parametrize("gpus", [True, False])
async def test_doctors_checks_of_a_cluster(gpus: bool, tmp_path: Path) -> None:
    async with running() as there:
        if gpus:
            add_gpu_node(there.cluster, "t4", "t4", count=2)
        else:
            add_node(there.cluster, "plain")
        target = Target(environ={}, kubeconfig=str(there.kubeconfig(tmp_path)), timeout_seconds=20.0)
        found = {each.name: each for each in await examining.asked(target, gpus=True)}
        whole = {each.name: each for each in await examining.asked(target, gpus=False)}
    assert whole["cluster"].ok
    assert found["cards"].ok is found["driver"].ok is found["labels"].ok is found["allocatable"].ok is gpus
    assert not found["device plugin"].ok
    if gpus:
        assert found["driver"].message == "t4: driver 580.95.05, CUDA 13.0"
        assert found["allocatable"].message == "t4: 2 nvidia.com/gpu"
    else:
        assert "GPU Operator" in found["allocatable"].message


async def test_a_cluster_that_does_not_answer_fails_with_a_remedy(tmp_path: Path) -> None:
    async with running() as there:
        kubeconfig = there.kubeconfig(tmp_path)
    (only,) = await examining.asked(
        Target(environ={}, kubeconfig=str(kubeconfig), timeout_seconds=5.0), gpus=True
    )
    assert not only.ok
    assert "choose another with --kubeconfig" in only.message


@pytest.mark.parametrize(("version", "takes"), [("1.37", True), ("1.31", False)])
async def test_image_volumes_are_found_out_where_pods_must_be_restricted(
    version: str, takes: bool, tmp_path: Path
) -> None:
    async with running(version) as there:
        add_namespace(there.cluster, SYSTEM)
        access = config.load({}, kubeconfig=str(there.kubeconfig(tmp_path)))
        cluster = Cluster(replace(access, namespace=SYSTEM), clock=time.time)
        try:
            with pytest.raises(Forbidden, match="PodSecurity"):
                await cluster.create(bare_pod(SYSTEM), dry_run=True)
            found = await probe(cluster, known=Capabilities())
        finally:
            await cluster.close()
    assert found.takes_images is takes
    assert found.unknown == ()


def add_namespace(cluster: verbs.Cluster, name: str) -> None:
    """The platform's own, as it is installed."""
    manifests = rendering.manifests(values.of({"namespace": name}))
    (namespace,) = (each for each in manifests if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    cluster.create(cluster.kind("Namespace"), "", dict(namespace), verbs.Options())


def bare_pod(namespace: str) -> dict[str, Any]:
    """One that says nothing of its security."""
    containers = [{"name": "c", "image": "probe"}]
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "bare", "namespace": namespace}, "spec": {"containers": containers},
    }  # fmt: skip


async def test_nodes_are_read_with_all_that_a_page_shows() -> None:
    async with running() as there:
        plain = node_of(add_gpu_node(there.cluster, "t4", "t4", count=2))
        assert [card.name for card in plain.gpus] == ["Tesla-T4", "Tesla-T4"]
        assert plain.classes == tuple(NodeClass)
        assert plain.labels["nvidia.com/gpu.product"] == "Tesla-T4"
        shared = node_of(add_gpu_node(there.cluster, "shared", "t4", shared=5))
        assert shared.gpus == ()
        assert shared.parts == {"nvidia.com/gpu": "5"}
        slices = node_of(add_gpu_node(there.cluster, "a100", "a100", slices={"1g.5gb": 7}))
        assert slices.parts == {"nvidia.com/mig-1g.5gb": "7"}


def test_classes_are_labels_and_who_is_not_ready_says_why() -> None:
    labels = {name: text for name, text in class_labels([NodeClass.DEPLOY]).items() if text}
    conditions = [
        {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "no network"},
        {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"},
    ]
    found = node_of({"metadata": {"name": "a", "labels": labels}, "status": {"conditions": conditions}})
    assert found.classes == (NodeClass.DEPLOY,)
    assert not found.ready
    assert found.reason == "not ready: no network; DiskPressure: KubeletHasDiskPressure"
