"""Replicas as pods: what is wanted is in the cluster, and only there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import Manifest, place
from modelyard.domain.deployment import Phase
from tests.backends.things import KEY
from tests.kubernetes.worlds import QUICK, World, connected, world
from tests.support.cluster import verbs
from tests.support.cluster.kubelets import CRASH, IMAGE_PULL, OUT_OF_MEMORY, Part
from tests.support.cluster.verbs import Options as How
from tests.support.cluster.writing import Hand
from tests.support.patience import PATIENCE


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_replicas_are_pods_of_one_deployment_for_each_revision(here: World) -> None:
    for replica in ("a", "b"):
        await here.backend.start(here.launch(replica))
    await here.backend.start(here.launch("c", revision=3))
    seen = await here.until_ready("a", "b", "c")
    assert [seen[name].revision for name in "abc"] == [2, 2, 3]
    assert all(each.address.endswith(":8080") and each.node == "node-1" for each in seen.values())
    counts = {d["metadata"]["name"]: d["spec"]["replicas"] for d in here.objects("Deployment")}
    assert counts == {"churn-r2": 2, "churn-r3": 1}


async def test_starting_twice_is_nothing(here: World) -> None:
    await here.backend.start(here.launch("a"))
    await here.until_ready("a")
    # The cluster's own controllers may still write statuses; what is wanted stays as it is.
    wanted = [each["metadata"]["generation"] for each in here.objects("Deployment")]
    asked = len(here.there.server.requests)
    await here.backend.start(here.launch("a"))
    assert [each["metadata"]["generation"] for each in here.objects("Deployment")] == wanted
    writes = ("POST", "PUT", "PATCH", "DELETE")
    assert not [each for each in here.there.server.requests[asked:] if each.startswith(writes)]


async def test_a_new_control_plane_finds_the_same_replicas(here: World) -> None:
    for replica in ("a", "b"):
        await here.backend.start(here.launch(replica, gpus=(0,)))
    before = await here.until_ready("a", "b")
    other = connected(here.kubeconfig)
    try:
        after = {each.name: each for each in await other.observe(KEY)}
    finally:
        await other.close()
    assert {n: (r.address, r.started_at, r.gpus) for n, r in after.items()} == {
        n: (r.address, r.started_at, r.gpus) for n, r in before.items()
    }


async def test_a_draining_pod_goes_on_in_its_service_until_it_stops(here: World) -> None:
    here.control.script = lambda pod: Part(starts_after=0.0, ready_after=0.05, stops_after=2.0)
    for replica in ("a", "b"):
        await here.backend.start(here.launch(replica))
    await here.until_ready("a", "b")
    await here.backend.drain(KEY, "a")
    seen = await here.seen()
    assert (seen["a"].phase, seen["b"].phase) == (Phase.DRAINING, Phase.READY)
    assert seen["a"].draining_since > 0
    both = sorted(each.address.partition(":")[0] for each in seen.values())
    async with asyncio.timeout(PATIENCE):
        while sorted(endpoints(here)) != both:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert sorted(endpoints(here)) == both
    await here.backend.stop(KEY, "a")
    async with asyncio.timeout(PATIENCE):
        while len(endpoints(here)) != 1:
            await asyncio.sleep(0.02)
    assert endpoints(here) == [seen["b"].address.partition(":")[0]]


def endpoints(here: World) -> list[str]:
    return [
        address
        for each in here.objects("EndpointSlice")
        for endpoint in each.get("endpoints") or ()
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    ]


async def test_the_one_that_is_stopped_is_the_one_that_goes(here: World) -> None:
    for replica in ("a", "b", "c"):
        await here.backend.start(here.launch(replica))
    before = await here.until_ready("a", "b", "c")
    here.control.script = lambda pod: Part(starts_after=0.0, ready_after=0.05, stops_after=2.0)
    await here.backend.stop(KEY, "b")
    assert (await here.seen())["b"].phase is Phase.STOPPING
    after = await here.until_ready("a", "c")
    assert {n: after[n].address for n in "ac"} == {n: before[n].address for n in "ac"}


async def test_stopping_one_does_not_cost_the_one_that_starts(here: World) -> None:
    await here.backend.start(here.launch("a"))
    before = await here.until_ready("a")
    (first,) = here.objects("Pod")
    slow = Part(starts_after=0.0, ready_after=999.0, stops_after=0.05)
    here.control.script = lambda pod: QUICK if place(pod) == place(first) else slow
    await here.backend.start(here.launch("b"))
    async with asyncio.timeout(PATIENCE):
        while not (starting := assigned(here).get("b")):
            await here.seen()
            await asyncio.sleep(0.02)
    delete = here.backend._replicas._delete_pod

    async def late(pod: Manifest, grace: int | None) -> None:
        await delete(pod, grace)
        await asyncio.sleep(0.3)

    here.backend._replicas._delete_pod = late  # type: ignore[method-assign]
    await here.backend.stop(KEY, "a")
    async with asyncio.timeout(PATIENCE):
        while len(here.objects("Pod")) != 1 or (await here.seen()).keys() != {"b"}:
            await asyncio.sleep(0.02)
    assert assigned(here) == {"b": starting}
    assert before.keys() == {"a"}


def assigned(here: World) -> dict[str, str]:
    """Names of the pods that stay, by replica."""
    return {
        each["metadata"].get("annotations", {}).get(names.REPLICA, ""): each["metadata"]["name"]
        for each in here.objects("Pod")
        if "deletionTimestamp" not in each["metadata"]
    }


async def test_when_the_last_one_is_gone_nothing_is_left(here: World) -> None:
    await here.backend.start(here.launch("a"))
    await here.until_ready("a")
    assert await here.backend.keys() == {KEY}
    await here.backend.stop(KEY, "a")
    await here.until_ready()
    kinds = ("Deployment", "ReplicaSet", "Pod", "Service", "ConfigMap", "Secret", "PodDisruptionBudget")
    async with asyncio.timeout(PATIENCE):
        while any(here.objects(kind) for kind in kinds):
            await here.seen()
            await asyncio.sleep(0.02)
    assert await here.backend.keys() == frozenset()


@pytest.mark.parametrize(
    ("fails", "reason"), [(CRASH, "FrontCrashed"), (OUT_OF_MEMORY, "OutOfMemory"), (IMAGE_PULL, "ImageError")]
)
async def test_what_cannot_run_says_why_and_another_takes_its_place(
    here: World, fails: str, reason: str
) -> None:
    here.control.script = lambda pod: Part(starts_after=0.0, fails=fails, stops_after=0.05)
    await here.backend.start(here.launch("a"))
    async with asyncio.timeout(PATIENCE):
        while (await here.seen())["a"].phase is not Phase.FAILED:
            await asyncio.sleep(0.02)
    failed = (await here.seen())["a"]
    assert failed.failure is not None
    assert failed.failure.reason == reason
    await here.backend.kill(KEY, "a")
    here.control.script = lambda pod: Part(starts_after=0.0, ready_after=0.05, stops_after=0.05)
    await here.backend.start(here.launch("b"))
    assert (await here.until_ready("b"))["b"].failure is None


async def test_a_pod_without_a_place_waits_and_says_for_what(here: World) -> None:
    await here.backend.start(here.launch("a", cpu_millis=64_000))
    async with asyncio.timeout(PATIENCE):
        while (found := (await here.seen())["a"]).failure is None:
            await asyncio.sleep(0.02)
    assert (found.phase, found.waits) == (Phase.STARTING, True)
    assert found.failure.reason == "InsufficientResources"
    assert "Insufficient cpu" in found.failure.message


async def test_a_pod_that_somebody_deletes_comes_back_under_the_same_name(here: World) -> None:
    await here.backend.start(here.launch("a"))
    before = await here.until_ready("a")
    (pod,) = here.objects("Pod")
    here.there.cluster.delete(
        here.there.cluster.kind("Pod"),
        ("modelyard-default", pod["metadata"]["name"]),
        How(manager="somebody"),
    )
    async with asyncio.timeout(PATIENCE):
        while (after := await here.seen())["a"].address in ("", before["a"].address):
            await asyncio.sleep(0.02)
    assert (await here.until_ready("a")).keys() == {"a"}
    assert after.keys() == {"a"}


@pytest.mark.parametrize("spoilt", [None, "no list", '{"a": 1}'])
async def test_a_list_that_somebody_spoilt_is_made_again_from_the_pods(
    here: World, spoilt: str | None
) -> None:
    for replica in ("a", "b"):
        await here.backend.start(here.launch(replica))
    before = await here.until_ready("a", "b")
    cluster = here.there.cluster
    patch = {"metadata": {"annotations": {names.REPLICAS: spoilt}}}
    name = ("modelyard-default", "churn-r2")
    cluster.patch(cluster.kind("Deployment"), name, verbs.MERGE, patch, How(manager="somebody"))

    def listed() -> str:
        (deployment,) = here.objects("Deployment")
        return deployment["metadata"].get("annotations", {}).get(names.REPLICAS, "")

    async with asyncio.timeout(PATIENCE):
        while listed() in ("", spoilt):
            await here.seen()
            await asyncio.sleep(0.02)
    assert json.loads(listed()).keys() == {"a", "b"}
    after = await here.until_ready("a", "b")
    assert {n: r.address for n, r in after.items()} == {n: r.address for n, r in before.items()}


async def test_a_list_that_somebody_else_changed_is_read_again(here: World) -> None:
    await here.backend.start(here.launch("a"))
    other = connected(here.kubeconfig)
    try:
        await asyncio.gather(*(b.start(here.launch(n)) for n, b in (("b", other), ("c", here.backend))))
    finally:
        await other.close()
    await here.until_ready("a", "b", "c")
    (deployment,) = here.objects("Deployment")
    assert json.loads(deployment["metadata"]["annotations"][names.REPLICAS]).keys() == {"a", "b", "c"}


async def test_a_pod_that_is_held_up_says_what_only_its_events_know(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.backends.kubernetes.complaints._PATIENCE_SECONDS", -2.0)
    here.control.script = lambda pod: Part(starts_after=1000.0)
    await here.backend.start(here.launch("a"))
    async with asyncio.timeout(PATIENCE):
        while not (found := here.objects("Pod")) or not found[0]["spec"].get("nodeName"):
            await asyncio.sleep(0.02)
    said = 'MountVolume.SetUp failed for volume "mount-0": secret "no-such" not found'
    Hand(here.there.cluster, "kubelet").event(found[0], "FailedMount", said, kind="Warning")
    async with asyncio.timeout(PATIENCE):
        while (held := (await here.seen())["a"]).failure is None:
            await asyncio.sleep(0.02)
    assert (held.phase, held.waits, held.failure.reason) == (Phase.STARTING, True, "MountFailed")
    assert "no-such" in held.failure.message
    asked = [each for each in here.there.server.requests if each.endswith("/events")]
    for _ in range(5):
        await here.seen()
    assert [each for each in here.there.server.requests if each.endswith("/events")] == asked
