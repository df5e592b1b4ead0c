"""An isolated project: who reaches its services past the gateway, over real connections."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from modelyard.backends.base import ISOLATION, Guest, TaskKind
from modelyard.backends.kubernetes.backend import KubernetesBackend, Options
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render import networks
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.deployment import Key
from modelyard.domain.network import Network
from modelyard.domain.quota import Quota
from tests.kubernetes import test_tasks
from tests.kubernetes.test_pods import DOUBLES, guest
from tests.kubernetes.test_tasks import Lender
from tests.kubernetes.worlds import TOKEN, World, world
from tests.support.cluster import schemas
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.verbs import Options as How

lender = test_tasks.lender
ALONE = Network(isolated=True)
ASKS = """
import json, sys, urllib.request
inputs = [{"name": "x", "shape": [1], "datatype": "FP64", "data": [2.0]}]
body = json.dumps({"inputs": inputs}).encode()
request = urllib.request.Request(sys.argv[1], body, {"content-type": "application/json"})
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(json.load(direct.open(request, timeout=20))["outputs"][0]["data"])
"""
REACHES = """
import socket
def predict(inputs):
    try:
        socket.create_connection(("127.0.0.9", 9), timeout=20)
    except OSError as error:
        print(type(error).__name__)
    return {"double": inputs["x"] * 2}
"""
_numbers = itertools.count()


@pytest.fixture
async def here(tmp_path: Path, files: tuple[str, dict[str, bytes]]) -> AsyncIterator[World]:
    settings = Settings(artifact_url=files[0], platform_sha256=hashlib.sha256(TOKEN.encode()).hexdigest())
    async with world(tmp_path, processes=True, settings=settings, enforces=True) as made:
        yield made


async def settle(here: World, network: Network, project: str = "default") -> None:
    await here.backend.settle(project, Quota(), network)


async def serving(here: World, model: Guest) -> str:
    """The address at which a replica of the default project answers predictions."""
    await here.backend.start(here.launch("a", guest=model))
    seen = await here.until_ready("a")
    return f"http://{seen['a'].address}/v2/models/churn/infer"


async def asked_from(here: World, namespace: str, url: str) -> str:
    """What a pod of that namespace hears: the answer, or the last line of its complaint."""
    cluster = here.there.cluster
    how, name, kind = How(manager="somebody"), f"asks-{next(_numbers)}", cluster.kind("Pod")
    if not cluster.store.get(cluster.kind("Namespace"), ("", namespace)):
        cluster.create(cluster.kind("Namespace"), "", {"metadata": {"name": namespace}}, how)
    context = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    one: dict[str, Any] = {"name": "c", "image": "modelyard/x", "securityContext": context}
    spec = {"containers": [one | {"command": ["python", "-c", ASKS, url]}], "restartPolicy": "Never"}
    cluster.create(kind, namespace, {"metadata": {"name": name}, "spec": spec}, how)

    def seen() -> dict[str, Any]:
        return cluster.store.get(kind, (namespace, name)) or {}

    async with asyncio.timeout(60):
        while seen().get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            await asyncio.sleep(0.05)
    kubelet = here.control.kubelet
    assert isinstance(kubelet, ProcessKubelet)
    return kubelet.written(seen(), "c")[-1].lines[-1].text


def policies(here: World, namespace: str = "modelyard-default") -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in here.objects("NetworkPolicy", namespace)}


async def test_other_projects_are_denied_and_the_allow_list_opens(
    here: World, files: tuple[str, dict[str, bytes]]
) -> None:
    url = await serving(here, guest(DOUBLES, files[1]))
    await settle(here, Network(), "b")
    assert await asked_from(here, "modelyard-b", url) == "[4.0]", "before, everybody gets through"
    await settle(here, ALONE)
    for stranger in ("modelyard-b", "monitoring"):
        assert "timed out" in await asked_from(here, stranger, url)
    for own in ("modelyard-default", "modelyard-system"):
        assert await asked_from(here, own, url) == "[4.0]", own
    assert json.loads(await here.backend.ask(Key("default", "churn"), "a", "/modelyard/state"))
    await settle(here, Network(isolated=True, allow_projects=("b",)))
    assert await asked_from(here, "modelyard-b", url) == "[4.0]"
    assert "timed out" in await asked_from(here, "monitoring", url)
    await settle(here, Network(isolated=True, allow_namespaces=("monitoring",)))
    assert await asked_from(here, "monitoring", url) == "[4.0]"
    assert "timed out" in await asked_from(here, "modelyard-b", url)
    await settle(here, Network())
    assert await asked_from(here, "modelyard-b", url) == "[4.0]"


async def test_an_isolated_project_starts_its_replicas_and_sees_them(
    here: World, files: tuple[str, dict[str, bytes]]
) -> None:
    await settle(here, ALONE)
    url = await serving(here, guest(DOUBLES, files[1]))
    assert "timed out" in await asked_from(here, "elsewhere", url)
    seen = await here.seen()
    assert seen["a"].loaded_bytes > 0, "its front told the platform its state"


async def test_a_task_reaches_what_lends_its_files_and_nothing_else(tmp_path: Path, lender: Lender) -> None:
    heard, settings = [], Settings(artifact_url=lender.base)
    for enforces in (True, False):
        home = tmp_path / str(enforces)
        home.mkdir()
        async with world(home, processes=True, settings=settings, enforces=enforces) as here:
            here.backend._options = replace(here.backend._options, courier=lender)
            answer = await here.backend.run(test_tasks.task(TaskKind.TEST, REACHES, lender))
            assert answer.failure is None, answer
            heard.append(answer.stdout.strip())
    assert heard == ["TimeoutError", "ConnectionRefusedError"], "the second network knows no policies"


async def test_the_policy_is_made_changed_put_back_and_removed(here: World) -> None:
    await settle(here, ALONE)
    assert policies(here).keys() == {"modelyard-closed", "modelyard-isolated"}, "before anything runs there"
    cluster = here.there.cluster
    kind, name = cluster.kind("NetworkPolicy"), ("modelyard-default", networks.ISOLATED)
    cluster.delete(kind, name, How(manager="somebody"))
    await settle(here, ALONE)
    made = policies(here)[networks.ISOLATED]
    wider = {**made, "spec": {**made["spec"], "ingress": [{}]}}
    cluster.replace(kind, name, wider, How(manager="somebody"))
    assert policies(here)[networks.ISOLATED]["spec"]["ingress"] == [{}]
    await settle(here, ALONE)
    assert policies(here)[networks.ISOLATED]["spec"] == made["spec"]
    theirs = {"metadata": {"name": "theirs"}, "spec": {"podSelector": {}}}
    cluster.create(kind, "modelyard-default", theirs, How(manager="somebody"))
    await settle(here, Network())
    assert policies(here).keys() == {"modelyard-closed", "theirs"}


async def test_policies_that_are_switched_off_isolate_nobody(here: World) -> None:
    await settle(here, ALONE)
    before = here.backend._options
    here.backend._options = replace(before, settings=replace(before.settings, network_policies=False))
    await settle(here, ALONE)
    assert policies(here) == {}
    assert here.backend.enforcement()[ISOLATION] == "not enforced (kubernetes.network_policies is off)"


def isolation(settings: Settings, network: Network = ALONE) -> Manifest | None:
    return networks.isolation("a", settings.namespace("a"), settings, network)


def told(settings: Settings) -> str:
    nobody: Any = None
    return KubernetesBackend(nobody, Options(settings=settings), clock=lambda: 0.0).enforcement()[ISOLATION]


async def test_a_platform_that_no_policy_can_name_locks_itself_out_of_nothing() -> None:
    outside = Settings(platform_inside=False)
    assert isolation(outside) is None
    assert told(outside).startswith("not enforced: the platform runs outside of the cluster")
    assert "kubernetes.platform_cidrs" in told(outside)
    named = replace(outside, platform_cidrs=("10.0.0.5/32",))
    policy = isolation(named)
    assert policy is not None
    assert policy["spec"]["ingress"] == [
        {"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.5/32"}}]}
    ]
    assert told(named).startswith(
        "of isolated projects by NetworkPolicy, if the cluster's network enforces them"
    )


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_version_of_kubernetes_knows_every_field(version: str) -> None:
    network = Network(
        isolated=True, allow_projects=("b", "system"), allow_namespaces=("monitoring", "modelyard-b")
    )
    policy = isolation(Settings(platform_cidrs=("fd00::/64",)), network)
    assert policy is not None
    kubernetes_validate.validate(policy, version, strict=True)
    _, platform, allowed, _ = policy["spec"]["ingress"][0]["from"]
    names = [each["namespaceSelector"]["matchExpressions"][0]["values"] for each in (platform, allowed)]
    # A project called `system` does not live where the platform does.
    assert names == [["modelyard-system"], ["modelyard--system", "modelyard-b", "monitoring"]]


def test_a_project_that_is_open_has_no_such_policy() -> None:
    assert isolation(Settings(), Network()) is None
