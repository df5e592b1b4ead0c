"""What others do to our objects is undone, and said; what is of no use goes."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.kubernetes import names, upkeep
from modelyard.backends.kubernetes.client.cluster import Listing, Selection
from modelyard.backends.kubernetes.kinds import CONFIG_MAP, DEPLOYMENT, SERVICE, Kind
from modelyard.domain.deployment import Key
from tests.backends.things import KEY
from tests.kubernetes.worlds import World, world
from tests.support.cluster import verbs
from tests.support.cluster.faults import Status
from tests.support.cluster.verbs import Options as How
from tests.support.patience import PATIENCE

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
    async with asyncio.timeout(PATIENCE):
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


async def test_what_is_written_during_a_look_at_everything_is_looked_after_too(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = here.backend._upkeep._cluster
    listing = cluster.listing

    async def late(selection: Selection) -> Listing:
        found = await listing(selection)
        if selection.kind == DEPLOYMENT:
            monkeypatch.setattr(cluster, "listing", listing)
            await one(here)
        return found

    monkeypatch.setattr(cluster, "listing", late)
    await here.backend._upkeep.sweep()
    wanted = here.objects("Service")[0]["spec"]["selector"]
    edit(here, "Service", "churn-r2", {"spec": {"selector": {names.TAKES_REQUESTS: "false"}}})
    await until(here, lambda: here.objects("Service")[0]["spec"]["selector"] == wanted)


async def test_the_number_of_pods_is_put_back(here: World) -> None:
    await one(here)
    edit(here, "Deployment", "churn-r2", {"spec": {"replicas": 3}})
    assert here.objects("Deployment")[0]["spec"]["replicas"] == 3
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
    await here.backend._upkeep.sweep()
    assert lost["data"] in [c.get("data") for c in here.objects("ConfigMap")]
    assert here.objects("Service")[0]["metadata"]["labels"][names.STAGE] == "production"
    assert len(said) == 2
    here.there.server.requests.clear()
    await here.backend._upkeep.sweep()
    assert len(here.there.server.requests) == 8, "one list of each kind, and those of tasks"


async def test_a_look_at_everything_does_not_ask_what_is_in_secrets_and_config_maps(here: World) -> None:
    await one(here)
    server = here.there.server
    server.requests.clear()
    server.bare.clear()
    await here.backend._upkeep.sweep()
    lists = [each.removeprefix("GET ") for each in server.requests if each.startswith("GET ")]
    about = [each for each in lists if each.endswith(("/secrets", "/configmaps"))]
    assert len(about) == 3, "those of revisions, and secrets of tasks"
    assert sorted(about) == sorted(server.bare)


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_what_is_remembered_by_name_only_comes_back_with_the_next_replica(
    here: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_MOST_BYTES", 10)
    said = await one(here)
    cluster = here.there.cluster
    lost = [o for o in here.objects(kind) if names.REVISION in o["metadata"]["labels"]]
    assert lost
    for each in lost:
        cluster.delete(cluster.kind(kind), (SPACE, each["metadata"]["name"]), How(manager="kubectl"))
    for _ in range(2):
        await here.backend._upkeep.sweep()
    assert [reason for reason, _ in said] == [upkeep.MISSING], said
    assert f"{kind} {lost[0]['metadata']['name']}" in said[0][1]
    await here.backend.start(here.launch("b"))
    there = {o["metadata"]["name"]: o["data"] for o in here.objects(kind)}
    assert all(there[each["metadata"]["name"]] == each["data"] for each in lost)
    written = len(here.there.server.requests)
    await here.backend.start(here.launch("c"))
    assert not [r for r in here.there.server.requests[written:] if "PATCH" in r and f"/{kind.lower()}s/" in r]


def damaged(text: str, how: str) -> str:
    """The annotation with other bytes in the middle, broken off, or of something else."""
    raw = bytearray(base64.b64decode(text))
    raw[40] ^= 0xFF
    raw[60] ^= 0x5A
    other = json.dumps([{"metadata": {}}, 1, {"kind": "Pod"}]).encode()
    return {
        "spoilt": base64.b64encode(raw).decode(),
        "short": text[: len(text) // 2 // 4 * 4],
        "else": base64.b64encode(gzip.compress(other)).decode(),
        "deep": base64.b64encode(gzip.compress(b"[" * 100_000)).decode(),
    }[how]


@pytest.mark.parametrize("how", ["spoilt", "short", "else", "deep"])
async def test_a_damaged_memory_stops_nothing_and_is_written_anew(here: World, how: str) -> None:
    await one(here)
    (deployment,) = here.objects("Deployment")
    good = deployment["metadata"]["annotations"][names.APPLIED]
    edit(here, "Deployment", "churn-r2", {"metadata": {"annotations": {names.APPLIED: damaged(good, how)}}})
    await asyncio.sleep(0.2)
    assert (await here.seen()).keys() == {"a"}
    await here.backend._upkeep.sweep()
    await here.backend.start(here.launch("b"))
    await here.until_ready("a", "b")
    assert here.objects("Deployment")[0]["metadata"]["annotations"][names.APPLIED] == good


async def test_leftovers_that_are_wanted_again_since_they_were_listed_stay(here: World) -> None:
    await one(here)
    lists = here.backend._cluster.listing
    clock = here.backend._upkeep._clock
    here.backend._upkeep._clock = lambda: clock() + 1000
    (hidden,) = here.objects("Deployment")
    asked: list[Kind] = []

    async def before(wanted: Selection) -> Listing:
        found = await lists(wanted)
        asked.append(wanted.kind)
        return replace(found, items=()) if wanted.kind == DEPLOYMENT else found

    here.backend._cluster.listing = before  # type: ignore[method-assign]
    await here.backend._upkeep.sweep()
    assert DEPLOYMENT in asked
    assert len(here.objects("Service")) == 1
    assert [each["metadata"]["uid"] for each in here.objects("Deployment")] == [hidden["metadata"]["uid"]]
    await here.until_ready("a")


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


async def test_a_namespace_that_lets_nobody_in_is_named_and_the_others_are_looked_after(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    other = Key("text", "churn")
    await here.backend.start(here.launch("a"))
    await here.backend.start(here.launch("b", key=other))
    labels = {names.MANAGED_BY: names.MANAGER, names.TASK: "t-1"}
    cluster, spaces = here.there.cluster, (SPACE, "modelyard-text")
    for space, project in zip(spaces, ("default", "text"), strict=True):
        cluster.delete(cluster.kind("Service"), (space, "churn-r2"), How(manager="kubectl"))
        for name, more in (("t-1", labels), ("churn-r1-env", names.labels(Key(project, "churn"), 1))):
            made = {"metadata": {"name": name, "labels": {**more, names.PROJECT: project}}}
            cluster.create(cluster.kind("Secret"), space, made, How(manager="modelyard"))
    here.there.server.faults.add(
        Status(403), times=50, where=lambda how, path: f"/{SPACE}/" in path and how in ("PATCH", "DELETE")
    )
    clock = here.backend._upkeep._clock
    here.backend._upkeep._clock = lambda: clock() + 1000
    await here.backend._upkeep.sweep()
    left = [{each["metadata"]["name"] for each in here.objects("Secret", space)} for space in spaces]
    assert [each & {"t-1", "churn-r1-env"} for each in left] == [{"t-1", "churn-r1-env"}, set()]
    assert [len(here.objects("Service", space)) for space in spaces] == [0, 1]
    told = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert any(SPACE in each for each in told)
    assert not any("modelyard-text" in each for each in told)


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
