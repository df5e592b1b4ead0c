"""`install kubernetes` against an API server: what it applies, waits for, takes away and says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.nodes import class_labels
from modelyard.domain.errors import Invalid, TimedOut
from modelyard.domain.node import NodeClass
from modelyard.installing import applying, rendering, values
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.kubelets import IMAGE_PULL, Part
from tests.support.cluster.running import Running, running
from tests.support.cluster.writing import Hand

SYSTEM = "modelyard-system"
_ON_HOST = {"kind": "HostPort", "http_port": 80, "ip": "192.0.2.7"}


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as found:
        yield found


@pytest.fixture
async def cluster(server: Running, tmp_path: Path) -> AsyncIterator[Cluster]:
    access = config.load({}, kubeconfig=str(server.kubeconfig(tmp_path)))
    found = Cluster(access, clock=time.time)
    yield found
    await found.close()


def wanted(**choice: Any) -> tuple[kinds.Manifest, ...]:
    return rendering.manifests(values.of(choice))


@pytest.fixture
async def control(server: Running) -> AsyncIterator[Control]:
    """Controllers, a scheduler, a node, and a kubelet whose pods are ready at once."""
    quick = Part(starts_after=0, ready_after=0, stops_after=0)
    found = Control(server.cluster, script=lambda pod: quick)
    addresses = [{"type": "InternalIP", "address": "192.0.2.10"}]
    node = add_node(server.cluster, "one")
    Hand(server.cluster, "kubelet").status(node, {**node["status"], "addresses": addresses})
    task = asyncio.create_task(found.run())
    yield found
    task.cancel()


async def test_it_is_applied_and_waited_for(cluster: Cluster, control: Control) -> None:
    said: list[str] = []
    came = await applying.install(cluster, wanted(), say=said.append, timeout_seconds=20)
    assert came.version == (1, 37)
    assert came.addresses == ("http://192.0.2.10:30080",)
    assert said[0] == f"Namespace {SYSTEM}"
    assert "Deployment modelyard" in said
    for manifest in wanted():
        namespace, name = kinds.place(manifest)
        await cluster.get(kinds.of(manifest), name, namespace=namespace)


async def test_the_same_again_changes_nothing(cluster: Cluster, control: Control) -> None:
    await applying.install(cluster, wanted(), say=lambda _: None, timeout_seconds=20)
    before = await cluster.get(kinds.DEPLOYMENT, "modelyard", namespace=SYSTEM)
    await applying.install(cluster, wanted(), say=lambda _: None, timeout_seconds=20)
    after = await cluster.get(kinds.DEPLOYMENT, "modelyard", namespace=SYSTEM)
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


async def test_an_upgrade_waits_for_the_new_pod(cluster: Cluster, control: Control) -> None:
    await applying.install(cluster, wanted(), say=lambda _: None, timeout_seconds=20)
    await applying.install(cluster, wanted(images={"tag": "9.9"}), say=lambda _: None, timeout_seconds=20)
    pods = (await cluster.list(kinds.POD, namespace=SYSTEM)).items
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"modelyard/control-plane:9.9"}


async def test_what_values_no_longer_ask_for_goes(cluster: Cluster, control: Control) -> None:
    database = {"url": "postgresql://a:b@c/d"}
    await applying.install(cluster, wanted(database=database), say=lambda _: None, timeout_seconds=20)
    await cluster.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "modelyard-keys", "namespace": SYSTEM}}
    )
    said: list[str] = []
    choice = wanted(routers={"count": 0}, bind=_ON_HOST)
    came = await applying.install(cluster, choice, say=said.append, timeout_seconds=20)
    assert came.addresses == ("http://192.0.2.7:80",)
    assert [each for each in said if "no longer" in each] == [
        "Secret modelyard-database is no longer wanted and was deleted",
        "Deployment modelyard-router is no longer wanted and was deleted",
        "PodDisruptionBudget modelyard-router is no longer wanted and was deleted",
        "ServiceAccount modelyard-router is no longer wanted and was deleted",
    ]
    kept = {each["metadata"]["name"] for each in (await cluster.list(kinds.SECRET, namespace=SYSTEM)).items}
    assert kept == {"modelyard-keys"}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Part(starts_after=0, fails=IMAGE_PULL), "ImagePullBackOff"),
        (Part(starts_after=0, ready_after=1e6), "its pods are not ready"),
    ],
)
async def test_a_platform_that_does_not_answer_is_said_why(
    cluster: Cluster, control: Control, part: Part, said: str
) -> None:
    control.script = lambda pod: part
    with pytest.raises(TimedOut, match=f"does not answer after 1.5 s.*{said}.*kubectl -n {SYSTEM}"):
        await applying.install(cluster, wanted(), say=lambda _: None, timeout_seconds=1.5)


async def test_a_pod_without_a_place_is_said_why(cluster: Cluster, control: Control) -> None:
    choice = wanted(control_plane={"cpu": "64"})
    with pytest.raises(TimedOut, match=r"has no node: .*Insufficient cpu"):
        await applying.install(cluster, choice, say=lambda _: None, timeout_seconds=1.5)


async def test_a_cluster_that_is_too_old_is_refused_before_anything_is_applied(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def version() -> tuple[int, int]:
        return (1, 30)

    monkeypatch.setattr(cluster, "version", version)
    with pytest.raises(Invalid, match=r"Kubernetes 1\.30; Modelyard needs 1\.31"):
        await applying.install(cluster, wanted(), say=lambda _: None, timeout_seconds=5)
    assert SYSTEM not in str((await cluster.list(kinds.NAMESPACE)).items)


async def test_the_command_installs_and_says_where(server: Running, control: Control, tmp_path: Path) -> None:
    path = server.kubeconfig(tmp_path)
    command = [sys.executable, "-m", "modelyard", "-o", "json", "install", "kubernetes"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--kubeconfig", path, "--timeout", "30"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"version": [1, 37], "addresses": ["http://192.0.2.10:30080"]}
    assert "Deployment modelyard" in done.stderr


async def test_several_control_planes_are_installed_and_renewed_one_by_one(
    cluster: Cluster, control: Control
) -> None:
    choice = {
        "control_plane": {"replicas": 2, "cpu": "100m"},
        "database": {"url": "postgresql://a:b@c/d"},
        "storage": {"access_mode": "ReadWriteMany"},
        "bind": {"second_http_port": 30082},
    }
    came = await applying.install(cluster, wanted(**choice), say=lambda _: None, timeout_seconds=20)
    assert came.addresses == ("http://192.0.2.10:30080",)
    budget = await cluster.get(kinds.POD_DISRUPTION_BUDGET, "modelyard", namespace=SYSTEM)
    assert budget["spec"]["maxUnavailable"] == 1
    least = 2

    async def watch() -> None:
        nonlocal least
        while True:
            found = await cluster.get(kinds.DEPLOYMENT, "modelyard", namespace=SYSTEM)
            least = min(least, int(found["status"].get("availableReplicas") or 0))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    newer = wanted(**choice, images={"tag": "9.9"})
    await applying.install(cluster, newer, say=lambda _: None, timeout_seconds=20)
    watching.cancel()
    labels = "app.kubernetes.io/component=control-plane"
    pods = (await cluster.list(kinds.POD, namespace=SYSTEM, labels=labels)).items
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"modelyard/control-plane:9.9"}
    assert least == 2


def test_ports_may_be_said_as_options_which_count_before_values() -> None:
    command = [sys.executable, "-m", "modelyard", "render", "kubernetes", "--set", "bind.http_port=30081"]
    options = ["--http-port", "30085", "--https-port", "30443", "--second-http-port", "30082"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    services = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] == "Service"]
    (door,) = [each for each in services if each["metadata"]["name"] == "modelyard-door"]
    assert [each["nodePort"] for each in door["spec"]["ports"]] == [30085, 30443, 30082]
    options = ["--set", "bind.kind=HostPort", "--bind-ip", "192.0.2.7", "--http-port", "80"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert "hostIP: 192.0.2.7" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "bind.http_port=1"], 2, "bind.http_port"),
        (["--http-port", "38080"], 2, "bind.http_port: 38080 is not in"),
        (["--https-port", "30080"], 2, "bind.https_port: must differ from bind.http_port"),
        (["--second-http-port", "many"], 2, "bind.second_http_port"),
        (["--bind-ip", "192.0.2.1"], 2, "bind.ip: a NodePort has no address to choose"),
        (["--set", "control_plane.replicas=2"], 2, "cannot share SQLite; set database.url"),
        (["-f", "/nowhere.yaml"], 2, "/nowhere.yaml cannot be read"),
        (["--kubeconfig", "/nowhere"], 2, "/nowhere"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], code: int, said: str) -> None:
    command = [sys.executable, "-m", "modelyard", "install", "kubernetes", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False)


@pytest.mark.parametrize(
    ("classes", "where"),
    [
        ({"a": "deploy", "b": "compute", "c": "control"}, {"c"}),
        ({"a": "deploy", "b": None, "c": "compute"}, {"b"}),
        ({"a": "deploy", "b": None, "c": "control"}, {"c"}),
        ({"a": "deploy"}, {"a"}),
    ],
)
async def test_its_pods_run_rather_on_nodes_of_class_control_and_never_nowhere(
    cluster: Cluster, server: Running, classes: dict[str, str | None], where: set[str]
) -> None:
    control = Control(server.cluster, script=lambda pod: Part(starts_after=0, ready_after=0))
    for name, chosen in classes.items():
        labels = class_labels([NodeClass(chosen)]) if chosen else {}
        add_node(server.cluster, name, labels={key: text for key, text in labels.items() if text})
    task = asyncio.create_task(control.run())
    await applying.install(cluster, wanted(), say=lambda _: None, timeout_seconds=20)
    task.cancel()
    pods = (await cluster.list(kinds.POD, namespace=SYSTEM)).items
    assert len(pods) == 3, "the control plane and two routers"
    assert {pod["spec"]["nodeName"] for pod in pods} == where
