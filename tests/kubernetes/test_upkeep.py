"""What others do to our objects is undone, and said; what is of no use goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.kubernetes import names, upkeep
from modelyard.backends.kubernetes.kinds import CONFIG_MAP, SERVICE
from tests.backends.things import KEY
from tests.kubernetes.worlds import World, world
from tests.support.cluster import verbs
from tests.support.cluster.verbs import Options as How

SPACE = "modelyard-default"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def one(here: World) -> list[tuple[str, str]]:
    """A ready replica; and what is said from now on."""
    await here.backend.start(here.launch("a"))
    await here.until_ready("a")
    said: list[tuple[str, str]] = []
    here.backend._upkeep._note = lambda key, reason, message: said.append((reason, message))
    return said


def edit(here: World, kind: str, name: str, patch: dict[str, Any]) -> None:
    cluster = here.there.cluster
    cluster.patch(cluster.kind(kind), (SPACE, name), verbs.MERGE, patch, How(manager="kubectl-edit"))


async def until(here: World, good: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not good():
            await here.seen()
            await asyncio.sleep(0.02)


async def test_a_change_of_the_template_is_put_back_and_said(here: World) -> None:
    said = await one(here)
    before = here.objects("Deployment")[0]["spec"]["template"]
    edit(here, "Deployment", "churn-r2", {"spec": {"template": {"spec": {"priorityClassName": "high"}}}})
    await until(here, lambda: here.objects("Deployment")[0]["spec"]["template"] == before)
    assert [reason for reason, _ in said] == [upkeep.CORRECTED]
    assert said[0][1].startswith(
        "kubectl-edit had changed spec.template.spec.priorityClassName of Deployment"
    )


async def test_a_service_that_leads_elsewhere_or_is_deleted_leads_here_again(here: World) -> None:
    said = await one(here)
    wanted = here.objects("Service")[0]["spec"]["selector"]
    edit(here, "Service", "churn-r2", {"spec": {"selector": {names.TAKES_REQUESTS: "false"}}})
    await until(here, lambda: here.objects("Service")[0]["spec"]["selector"] == wanted)
    cluster = here.there.cluster
    cluster.delete(cluster.kind("Service"), (SPACE, "churn-r2"), How(manager="kubectl"))
    await until(here, lambda: len(here.objects("Service")) == 1)
    assert "somebody had deleted Service churn-r2" in said[-1][1]


async def test_the_number_of_pods_is_put_back(here: World) -> None:
    await one(here)
    edit(here, "Deployment", "churn-r2", {"spec": {"replicas": 3}})
    await until(here, lambda: here.objects("Deployment")[0]["spec"]["replicas"] == 1)
    await here.until_ready("a")


async def test_what_others_add_is_left_alone(here: World) -> None:
    said = await one(here)
    edit(
        here, "Deployment", "churn-r2", {"metadata": {"annotations": {"team": "a"}}, "spec": {"paused": True}}
    )
    await until(here, lambda: here.objects("Deployment")[0]["spec"].get("paused") is True)
    for _ in range(5):
        await here.seen()
        await asyncio.sleep(0.02)
    assert here.objects("Deployment")[0]["spec"].get("paused") is True
    assert said == []


async def test_a_look_at_everything_finds_what_happened_while_nobody_looked(here: World) -> None:
    said = await one(here)
    lost = next(c for c in here.objects("ConfigMap") if "-replica-" in c["metadata"]["name"])
    cluster = here.there.cluster
    cluster.delete(cluster.kind("ConfigMap"), (SPACE, lost["metadata"]["name"]), How(manager="kubectl"))
    here.backend._upkeep._good.clear()
    edit(here, "Service", "churn-r2", {"metadata": {"labels": {names.STAGE: None}}})
    requests = len(here.there.server.requests)
    await here.backend._upkeep.sweep()
    assert lost["data"] in [c.get("data") for c in here.objects("ConfigMap")]
    assert here.objects("Service")[0]["metadata"]["labels"][names.STAGE] == "production"
    assert len(said) == 2
    here.there.server.requests.clear()
    await here.backend._upkeep.sweep()
    assert len(here.there.server.requests) == 6, "one list of each kind, and that of what tasks read"
    assert requests > 0


async def test_leftovers_of_a_revision_that_is_no_more_go_when_they_are_old(here: World) -> None:
    await one(here)
    cluster = here.there.cluster
    labels = {**names.labels(KEY, 1)}
    for kind, name in ((CONFIG_MAP, "churn-r1-config-x"), (SERVICE, "churn-r1")):
        value: dict[str, Any] = {"metadata": {"name": name, "labels": labels}}
        if kind is SERVICE:
            value["spec"] = {"ports": [{"port": 80}]}
        cluster.create(cluster.kind(kind.name), SPACE, value, How(manager="modelyard"))
    await here.backend._upkeep.sweep()
    assert len(here.objects("Service")) == 2, "it may be being made"
    clock = here.backend._upkeep._clock
    here.backend._upkeep._clock = lambda: clock() + 1000
    await here.backend._upkeep.sweep()
    assert [s["metadata"]["name"] for s in here.objects("Service")] == ["churn-r2"]
    assert not [c for c in here.objects("ConfigMap") if c["metadata"]["name"] == "churn-r1-config-x"]
    await here.until_ready("a")


def test_secrets_are_remembered_by_name_only() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "aGlkZGVu"}}
    large = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "x"}}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {}}
    *_, remembers = upkeep.remembered((secret, large, deployment))
    found = upkeep.applied(remembers).manifests
    assert [each["kind"] for each in found] == ["Secret", "ConfigMap", "Deployment"]
    assert "data" not in found[0]
    assert found[1] == large
    assert found[2] == remembers
    assert upkeep.applied(deployment).manifests == ()
    spoilt = {**deployment, "metadata": {"name": "d", "annotations": {names.APPLIED: "???"}}}
    assert upkeep.applied(spoilt).manifests == ()
