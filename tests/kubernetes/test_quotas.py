"""A project's quota in a cluster: a fence that the platform keeps inside of, and others do not get over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from modelyard.backends.kubernetes.capabilities import Gpus
from modelyard.backends.kubernetes.render import networks, tenant
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain import quota
from modelyard.domain.network import Network
from modelyard.domain.quota import Quota
from tests.kubernetes.worlds import World, world
from tests.support.cluster import schemas
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.verbs import Options as How
from tests.support.patience import PATIENCE

KINDS = ("ResourceQuota", "LimitRange", "NetworkPolicy")
OURS = {"app.kubernetes.io/managed-by": "modelyard"}
OPEN = Network()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def kept(here: World) -> dict[str, list[str]]:
    return {kind: [each["metadata"]["name"] for each in here.objects(kind)] for kind in KINDS}


def hard(here: World) -> dict[str, str]:
    (found,) = here.objects("ResourceQuota")
    return dict(found["spec"]["hard"])


def by_hand(here: World, name: str, **asked: str) -> dict[str, Any]:
    """What somebody makes in the namespace beside the platform."""
    context = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    container: dict[str, Any] = {"name": "c", "image": "modelyard/x", "securityContext": context}
    if asked:
        container["resources"] = {"requests": asked}
    value = {"metadata": {"name": name}, "spec": {"containers": [container]}}
    cluster = here.there.cluster
    return cluster.create(cluster.kind("Pod"), "modelyard-default", value, How(manager="somebody"))


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_version_of_kubernetes_knows_every_field(version: str) -> None:
    limits = quota.parse("cpu=8,memory=32Gi,gpus=2,replicas=20")
    gpus = Gpus(
        resources=frozenset({"nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/gpumem"}),
        device_classes=frozenset({"gpu.nvidia.com"}),
    )
    fence = tenant.fence("a", "modelyard-a", limits, gpus)
    defaults = tenant.defaults("a", "modelyard-a", limits)
    assert fence is not None
    assert defaults is not None
    kubernetes_validate.validate(fence, version, strict=True)
    kubernetes_validate.validate(defaults, version, strict=True)
    assert fence["spec"]["hard"] == {
        "requests.cpu": "20000m",
        "requests.memory": str((64 + 4) << 30),
        "requests.nvidia.com/gpu": "4",
        "requests.nvidia.com/mig-1g.10gb": "4",
        "gpu.nvidia.com.deviceclass.resource.k8s.io/devices": "4",
        "pods": "48",
    }


def test_without_a_quota_there_is_no_fence() -> None:
    assert tenant.fence("a", "modelyard-a", Quota(), Gpus()) is None
    assert tenant.defaults("a", "modelyard-a", Quota()) is None
    cards = tenant.fence("a", "modelyard-a", Quota(gpus=0), Gpus())
    assert cards is not None
    assert cards["spec"]["hard"] == {"requests.nvidia.com/gpu": "0"}
    assert tenant.defaults("a", "modelyard-a", Quota(gpus=0)) is None, "who asks for no card says nothing"


async def test_a_quota_is_made_changed_and_removed(here: World) -> None:
    await here.backend.settle("default", Quota(), OPEN)
    assert not here.objects("Namespace", "modelyard-default") or kept(here) == {kind: [] for kind in KINDS}
    await here.backend.settle("default", quota.parse("cpu=2,replicas=3"), OPEN)
    assert kept(here)["LimitRange"] == ["modelyard-defaults"]
    assert hard(here) == {"requests.cpu": "8000m", "pods": "14"}
    await here.backend.settle("default", quota.parse("replicas=5"), OPEN)
    assert hard(here) == {"pods": "18"}
    assert kept(here)["LimitRange"] == []
    await here.backend.settle("default", Quota(), OPEN)
    assert kept(here)["ResourceQuota"] == kept(here)["LimitRange"] == []


async def test_a_quota_that_somebody_removed_or_changed_comes_back(here: World) -> None:
    limits = quota.parse("replicas=5")
    await here.backend.settle("default", limits, OPEN)
    cluster = here.there.cluster
    cluster.delete(
        cluster.kind("ResourceQuota"), ("modelyard-default", tenant.QUOTA), How(manager="somebody")
    )
    await here.backend.settle("default", limits, OPEN)
    assert hard(here) == {"pods": "18"}


async def test_a_quota_of_somebody_else_stays(here: World) -> None:
    await here.backend.settle("default", quota.parse("replicas=5"), OPEN)
    cluster = here.there.cluster
    theirs = {"metadata": {"name": "theirs"}, "spec": {"hard": {"pods": "9"}}}
    cluster.create(cluster.kind("ResourceQuota"), "modelyard-default", theirs, How(manager="somebody"))
    await here.backend.settle("default", Quota(), OPEN)
    assert kept(here)["ResourceQuota"] == ["theirs"]


async def test_replicas_start_inside_of_it_and_what_says_nothing_is_counted(here: World) -> None:
    await here.backend.settle("default", quota.parse("cpu=500m,memory=64Mi,replicas=1"), OPEN)
    small = here.launch("a", cpu_millis=50, memory_bytes=64 << 20)
    await here.backend.start(small)
    await here.until_ready("a")
    (pod,) = here.objects("Pod")
    for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
        asked = container["resources"]["requests"]
        assert (asked["cpu"], int(asked["memory"])) == ("50m", 64 << 20), container["name"]
    made = by_hand(here, "foreign")
    assert made["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}}
    with pytest.raises(Refusal, match=r"exceeded quota: modelyard-quota, requested: requests.cpu=5"):
        by_hand(here, "greedy", cpu="5", memory="1Mi")


async def test_a_fence_that_others_filled_is_told_in_the_words_of_the_catalogue(here: World) -> None:
    await here.backend.settle("default", quota.parse("cpu=1"), OPEN)
    by_hand(here, "greedy", cpu="5500m", memory="1Mi")
    await here.backend.start(here.launch("a", cpu_millis=1000, memory_bytes=64 << 20))
    async with asyncio.timeout(PATIENCE):
        while (failure := (await here.seen())["a"].failure) is None:
            await asyncio.sleep(0.02)
    assert failure.reason == "QuotaExceeded"
    assert failure.message.startswith("the quota modelyard-quota is used up: requested: requests.cpu=1")
    cluster = here.there.cluster
    cluster.delete(cluster.kind("Pod"), ("modelyard-default", "greedy"), How(manager="somebody"))
    await here.until_ready("a")


async def test_policies_go_when_they_are_switched_off_and_come_back(here: World) -> None:
    await here.backend.settle("default", quota.parse("replicas=5"), OPEN)
    (policy,) = here.objects("NetworkPolicy")
    wanted = networks.policy("default", "modelyard-default", Settings())
    assert (policy["spec"], policy["metadata"]["labels"]) == (wanted["spec"], wanted["metadata"]["labels"])
    before = here.backend._options
    here.backend._options = replace(before, settings=replace(before.settings, network_policies=False))
    assert not networks.closes(here.backend._options.settings)
    await here.backend.settle("default", Quota(), OPEN)
    assert here.objects("NetworkPolicy") == []
    told = here.backend.enforcement()["network of validation and tests"]
    assert told == "not enforced (kubernetes.network_policies is off)"
    here.backend._options = before
    await here.backend.settle("default", Quota(), OPEN)
    assert kept(here)["NetworkPolicy"] == ["modelyard-closed"]
