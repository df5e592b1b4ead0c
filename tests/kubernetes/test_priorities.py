"""Who gives way to whom when a cluster has not room for all, and that giving way is nobody's fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest

from modelyard.backends.base import TaskKind
from modelyard.backends.kubernetes import names, priorities
from modelyard.domain import crashes
from modelyard.domain.deployment import DeploymentSpec, Failure, Key, Phase, Stage
from modelyard.domain.priority import Level, Priority
from tests.backends.things import KEY
from tests.domain import make
from tests.kubernetes.test_tasks import DOUBLES, Lender, lender, task
from tests.kubernetes.worlds import World, world
from tests.support.cluster import schemas
from tests.support.cluster.kubelets import Part
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Options as How
from tests.support.patience import PATIENCE

__all__ = ["lender"]
IMPORTANT = Key("default", "important")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_version_of_kubernetes_takes_the_ladder(version: str) -> None:
    for rung in priorities.LADDER:
        kubernetes_validate.validate(priorities.manifest(rung), version, strict=True)


def test_the_ladder_goes_down_and_only_what_answers_evicts_others() -> None:
    values = [rung.value for rung in priorities.LADDER]
    assert values == sorted(values, reverse=True)
    assert values[0] == 1_000_000, "below what Kubernetes keeps for itself"
    assert [rung.name for rung in priorities.LADDER if not rung.preempts] == [
        priorities.BATCH, priorities.BEST_EFFORT,
    ]  # fmt: skip
    assert {priorities.of_service(level, Stage.PRODUCTION) for level in Level} < {
        rung.name for rung in priorities.LADDER
    }
    assert priorities.of_service(Level.CRITICAL, Stage.DEBUG) == priorities.BEST_EFFORT


async def test_a_cluster_that_has_no_ladder_gets_one_and_keeps_its_own_rungs(here: World) -> None:
    cluster = here.there.cluster
    own = {"metadata": {"name": "modelyard-serving-high"}, "value": 77}
    cluster.create(cluster.kind("PriorityClass"), "", own, How(manager="somebody"))
    await here.backend.start(here.launch("a"))
    await here.until_ready("a")
    found = {each["metadata"]["name"]: each["value"] for each in here.objects("PriorityClass")}
    assert found == {rung.name: rung.value for rung in priorities.LADDER} | {"modelyard-serving-high": 77}
    (pod,) = here.objects("Pod")
    assert (pod["spec"]["priorityClassName"], pod["spec"]["priority"]) == ("modelyard-serving-normal", 10_000)


async def test_a_more_important_service_gets_its_place_and_the_other_is_told_why(here: World) -> None:
    told: list[tuple[str, str, str]] = []
    here.backend._upkeep._note = lambda key, reason, message: told.append((str(key), reason, message))
    here.control.script = lambda pod: Part(starts_after=0.0, ready_after=0.05, stops_after=3.0)
    await here.backend.start(here.launch("a", cpu_millis=3000))
    await here.until_ready("a")
    spec = DeploymentSpec(model="churn@3", priority=Priority(level=Level.HIGH))
    await here.backend.start(here.launch("b", key=IMPORTANT, cpu_millis=3000, spec=spec))
    reasons: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not reasons or reasons[-1] != "InsufficientResources":
            await here.seen(IMPORTANT)
            seen = (await here.seen())["a"]
            assert seen.phase is not Phase.FAILED
            if seen.failure is not None and seen.failure.reason not in reasons:
                reasons.append(seen.failure.reason)
            await asyncio.sleep(0.02)
    assert reasons == ["Preempted", "InsufficientResources"], "first why it went, then what it waits for"
    await here.until_ready("b", key=IMPORTANT)
    why = "a: default-scheduler: preempting to accommodate a higher priority pod"
    assert told == [(str(KEY), "Preempted", why)]
    await here.backend.stop(IMPORTANT, "b")
    await here.until_ready("a")


async def test_equals_and_less_important_ones_wait(here: World) -> None:
    await here.backend.start(here.launch("a", cpu_millis=3000))
    await here.until_ready("a")
    low = DeploymentSpec(model="churn@3", priority=Priority(level=Level.LOW))
    await here.backend.start(here.launch("b", key=IMPORTANT, cpu_millis=3000, spec=low))
    async with asyncio.timeout(PATIENCE):
        while (failure := (await here.seen(IMPORTANT))["b"].failure) is None:
            await asyncio.sleep(0.02)
    assert failure.reason == "InsufficientResources"
    assert (await here.seen())["a"].phase is Phase.READY


def test_giving_way_is_no_crash() -> None:
    one = make.replica()
    for reason, number in (("Preempted", 0), ("FrontCrashed", 1)):
        failures = {one.name: Failure(reason=reason, message="")}
        assert crashes.count(make.deployment(), [one], failures, revision=1, now=make.NOW).count == number


async def _pod_of_a_task(here: World, other_than: str) -> Object:
    """The pod of the only task, once it has a node."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for pod in here.objects("Pod"):
                uid, placed = pod["metadata"]["uid"], pod["spec"].get("nodeName")
                if names.TASK in pod["metadata"]["labels"] and placed and uid != other_than:
                    return pod
            await asyncio.sleep(0.02)


async def test_a_task_whose_place_is_taken_runs_again_when_there_is_room(
    tmp_path: Path, lender: Lender
) -> None:
    """Its Job has one try, and what the cluster takes away is none."""
    async with world(tmp_path) as here:
        here.backend._options = replace(here.backend._options, courier=lender)
        here.control.script = lambda pod: Part(starts_after=0.0, ready_after=0.0, stops_after=0.1)
        running = asyncio.create_task(here.backend.run(task(TaskKind.INSPECT, DOUBLES, lender)))
        first = await _pod_of_a_task(here, "")
        assert first["spec"]["priorityClassName"] == priorities.BATCH
        await here.backend.start(here.launch("a", cpu_millis=4000))
        await here.until_ready("a")
        assert not running.done(), running.result()
        await here.backend.stop(KEY, "a")
        second = await _pod_of_a_task(here, str(first["metadata"]["uid"]))
        assert second["metadata"]["uid"] != first["metadata"]["uid"]
        here.control.script = lambda pod: Part(starts_after=0.0, ends_after=0.0, exit_code=1)
        answer = await running
        assert answer.failure is not None
        assert answer.failure.reason == "WorkerCrashed", "of the second pod, which ended by itself"
