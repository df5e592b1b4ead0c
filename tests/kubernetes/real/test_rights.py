"""The installed platform with the rights that it is installed with, and with no pod anywhere."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard import Client
from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.probe import probe
from modelyard.domain.errors import Forbidden
from modelyard.installing import applying, examining, rendering, values
from modelyard.installing.running import Target
from tests.kubernetes.real.conftest import connected
from tests.support.apiserver.reached import Reached
from tests.support.platform import Running
from tests.support.ports import free_port

SYSTEM, PROJECT = "modelyard-system", "modelyard-default"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:modelyard"
pytestmark = pytest.mark.needs("a server of our own")


@pytest.fixture
async def installed(cluster: Cluster) -> None:
    """What the installation applies; who would run it is not there, and its ports are nobody else's."""
    for manifest in rendering.manifests(values.of({"bind": {"http_port": 31080, "https_port": 31443}})):
        await cluster.apply(manifest, manager=applying.MANAGER)


@pytest.fixture
async def account(installed: None, apiserver: Reached, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A client with the rights of the platform's account."""
    made = connected(apiserver.acting_as(ACCOUNT, tmp_path), namespace=SYSTEM)
    yield made
    await made.close()


async def test_the_account_finds_out_what_the_cluster_can_do(account: Cluster) -> None:
    found = await probe(account, known=Capabilities())
    assert found.version >= (1, 31)
    assert "apps/v1/deployments" in found.resources
    assert found.unknown == ()


async def test_the_account_may_do_nothing_with_what_is_others(account: Cluster) -> None:
    metadata = {"name": "theirs", "namespace": "kube-system"}
    for forbidden in (
        account.list(kinds.SECRET, namespace="kube-system"),
        account.get(kinds.SECRET, "theirs", namespace="kube-system"),
        account.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}),
        account.delete(kinds.DEPLOYMENT, "modelyard", namespace=SYSTEM),
        account.delete(kinds.NODE, "one"),
    ):
        with pytest.raises(Forbidden):
            await forbidden


async def test_an_examination_says_what_the_cluster_is(apiserver: Reached) -> None:
    target = Target(environ={}, kubeconfig=str(apiserver.kubeconfig), timeout_seconds=60)
    first, *more = await examining.asked(target, gpus=False)
    assert (first.name, first.ok) == ("cluster", True), first
    assert more
    cards, *_ = await examining.asked(target, gpus=True)
    assert (cards.name, cards.ok) == ("cards", False)
    assert "GPU Operator" in cards.message


@pytest.fixture
async def node(cluster: Cluster) -> None:
    """A node that is known and nothing more: what is wanted has a place, and nobody runs it."""
    amounts = {"cpu": "8", "memory": "16Gi", "pods": "110"}
    made = await cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "nobody"}})
    good = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it is said"}
    status = {"capacity": amounts, "allocatable": amounts, "conditions": [good]}
    await cluster.replace({**made, "status": status}, subresource="status")
    # A new node is tainted until a controller believes in it.
    await cluster.patch(kinds.NODE, "nobody", {"spec": {"taints": None}})


@pytest.fixture
def platform(installed: None, node: None, apiserver: Reached, tmp_path: Path) -> Iterator[Running]:
    """A control plane that leads, with its account's rights."""
    chosen = {
        "kubeconfig": str(apiserver.acting_as(ACCOUNT, tmp_path)), "account": "modelyard", "lease": True,
    }  # fmt: skip
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in chosen.items())
    settings = f'[server]\nhttps_port = {free_port()}\n[backend]\nkind = "kubernetes"\n[kubernetes]\n{lines}'
    made = Running(tmp_path / "home", settings=settings, variables={"POD_NAME": "the-only-one"}).start()
    yield made
    made.stop()


def cli(platform: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelyard", "--server", platform.url, *arguments]
    return subprocess.run(
        command, env=platform.environ, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.slow
@pytest.mark.needs("an API server alone")
async def test_a_service_becomes_objects_and_they_go_again(platform: Running, cluster: Cluster) -> None:
    lease = await cluster.get(kinds.LEASE, "modelyard", namespace=SYSTEM)
    assert lease["spec"]["holderIdentity"].startswith("the-only-one")
    keys = await cluster.get(kinds.SECRET, "modelyard-keys", namespace=SYSTEM)
    assert {"admin-token", "master-key"} <= keys["data"].keys()
    words = ("--name", "answers", "--image", "example.org/answers:1", "--command", "serve", "--port", "9000")
    done = await asyncio.to_thread(cli, platform, "deploy", *words, "--replicas", "2", "--no-wait")
    assert done.returncode == 0, done.stderr

    async def wanted() -> list[dict[str, Any]]:
        found = (await cluster.list(kinds.DEPLOYMENT, namespace=PROJECT)).items
        return [each for each in found if each["spec"].get("replicas") == 2]

    await until(wanted, "a Deployment wants two pods")
    (made,) = await wanted()
    template = made["spec"]["template"]["spec"]
    assert template["containers"][0]["image"] == "example.org/answers:1"
    for kind in (kinds.SERVICE, kinds.CONFIG_MAP, kinds.POD_DISRUPTION_BUDGET):
        assert (await cluster.list(kind, namespace=PROJECT)).items, kind
    said = await asyncio.to_thread(cli, platform, "explain", "answers")
    assert "Traceback" not in said.stderr
    with platform.client() as client:
        assert client.system().cluster["reachable"] == "yes"
        await asyncio.to_thread(removed, client)

    async def gone() -> bool:
        found = (await cluster.list(kinds.DEPLOYMENT, namespace=PROJECT)).items
        return not found

    await until(gone, "no Deployment is left")


def removed(client: Client) -> None:
    client.deployments.delete("answers")


async def until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not await holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.2)
