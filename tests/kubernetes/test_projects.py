"""What a project has in the cluster before anything of it runs there."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard.backends.kubernetes.kinds import CONFIG_MAP
from modelyard.backends.kubernetes.names import ANCHOR
from modelyard.backends.kubernetes.render.desired import Images, Settings
from modelyard.domain.errors import BackendError
from tests.kubernetes.worlds import World, world
from tests.support.cluster.verbs import Options as How
from tests.support.patience import PATIENCE

REGISTRY = Settings(images=Images(pull_secret="registry"))
TYPE = "kubernetes.io/dockerconfigjson"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, settings=REGISTRY) as made:
        yield made


def keep(here: World, content: str) -> None:
    """The administrator's Secret in the platform's namespace."""
    cluster = here.there.cluster
    how, place = How(manager="admin", force=True), "modelyard-system"
    data = {".dockerconfigjson": base64.b64encode(content.encode()).decode()}
    if not any(each["metadata"]["name"] == place for each in here.objects("Namespace", place)):
        cluster.create(cluster.kind("Namespace"), "", {"metadata": {"name": place}}, how)
    metadata = {"name": "registry", "namespace": place}
    value = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": TYPE, "data": data}
    cluster.patch(cluster.kind("Secret"), (place, "registry"), "application/apply-patch+yaml", value, how)


def copied(here: World) -> list[str]:
    found = [each for each in here.objects("Secret") if each["metadata"]["name"] == "registry"]
    assert all(each["type"] == TYPE for each in found)
    return [base64.b64decode(each["data"][".dockerconfigjson"]).decode() for each in found]


async def test_pods_find_the_registrys_credentials_beside_them_as_they_are_now(here: World) -> None:
    keep(here, "old")
    await here.backend.start(here.launch("a"))
    assert copied(here) == ["old"]
    (deployment,) = here.objects("Deployment")
    assert deployment["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    keep(here, "new")
    await here.backend.start(here.launch("b"))
    assert copied(here) == ["new"]


async def test_credentials_that_nobody_made_are_asked_for_by_name(here: World) -> None:
    with pytest.raises(BackendError, match=r"kubernetes.pull_secret: the namespace modelyard-system has no"):
        await here.backend.start(here.launch("a"))


async def test_a_namespace_that_somebody_opened_is_closed_when_something_comes_to_it(here: World) -> None:
    keep(here, "x")
    cluster = here.there.cluster
    metadata = {"name": "modelyard-default", "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}
    cluster.create(cluster.kind("Namespace"), "", {"metadata": metadata}, How(manager="somebody"))
    await here.backend.start(here.launch("a"))
    (namespace,) = (e for e in here.objects("Namespace") if e["metadata"]["name"] == "modelyard-default")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


async def test_a_node_may_be_emptied_one_pod_at_a_time(here: World) -> None:
    keep(here, "x")
    for replica in ("a", "b"):
        await here.backend.start(here.launch(replica))
    await here.until_ready("a", "b")
    (budget,) = here.objects("PodDisruptionBudget")
    assert (budget["status"]["expectedPods"], budget["status"]["disruptionsAllowed"]) == (2, 1)


async def test_a_namespace_that_is_deleted_before_that_is_heard_of_is_made_again_at_the_next_try(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(here, "x")
    await here.backend.start(here.launch("a"))
    await here.until_ready("a")
    view, cluster, space = here.backend._view, here.there.cluster, "modelyard-default"
    before = here.objects("ConfigMap")
    known = {(kind, each["metadata"]["name"]): each for kind in (CONFIG_MAP,) for each in before}
    monkeypatch.setattr(view, "get", lambda kind, namespace, name: known.get((kind, name)))
    cluster.delete(cluster.kind("Namespace"), ("", space), How(manager="kubectl"))
    async with asyncio.timeout(PATIENCE):
        while any(each["metadata"]["name"] == space for each in here.objects("Namespace", "")):
            await asyncio.sleep(0.02)
    with pytest.raises(BackendError, match=f"the namespace {space} .*made again") as refused:
        await here.backend.start(here.launch("b"))
    assert refused.value.retryable
    await here.backend.start(here.launch("b"))
    monkeypatch.undo()
    await here.until_ready("b")
    (anchor,) = [each for each in here.objects("ConfigMap") if ANCHOR in each["metadata"]["labels"]]
    assert anchor["metadata"]["uid"] not in {each["metadata"]["uid"] for each in before}
    owned = [each["metadata"].get("ownerReferences", []) for each in here.objects("Deployment")]
    assert [[each["uid"] for each in owners] for owners in owned] == [[anchor["metadata"]["uid"]]]
