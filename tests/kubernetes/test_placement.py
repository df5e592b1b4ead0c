"""On which nodes pods come to run: of the class that they need, and whole cards where others are in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.base import TaskKind
from modelyard.domain.deployment import DeploymentSpec, Key, Resources
from modelyard.domain.node import NodeClass
from tests.kubernetes.test_tasks import DOUBLES, Lender, task
from tests.kubernetes.worlds import QUICK, World, world
from tests.support.cluster import verbs
from tests.support.cluster.control import add_node
from tests.support.cluster.gpus import add_gpu_node
from tests.support.cluster.kubelets import Part
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Options as How
from tests.support.patience import PATIENCE

ALL = frozenset(NodeClass)
ONE_CARD = DeploymentSpec(model="churn@3", resources=Resources(gpu="1"))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    """A cluster without nodes, where pods of tasks find no image and pods of services are well."""

    def script(pod: Object) -> Part:
        fails = Part(starts_after=0.0, fails="ImagePullBackOff", stops_after=0.05)
        return fails if "batch.kubernetes.io/job-name" in pod["metadata"].get("labels", {}) else QUICK

    async with world(tmp_path, nodes=False) as made:
        made.backend._options = replace(made.backend._options, courier=Lender("http://127.0.0.1:9/files"))
        made.control.script = script
        yield made


def nodes_of(here: World, *, tasks: bool = False) -> set[str]:
    """Where pods of services, or of tasks, were sent to by the scheduler."""
    said = [each for each in here.objects("Event") if each["reason"] == "Scheduled"]
    names = [each for each in said if each["involvedObject"]["name"].startswith("task-") is tasks]
    return {each["message"].rpartition(" to ")[2] for each in names}


async def try_a_model(here: World) -> None:
    """A task, which ends without an answer."""
    courier = here.backend._options.courier
    assert isinstance(courier, Lender)
    answer = await here.backend.run(task(TaskKind.INSPECT, DOUBLES, courier))
    assert answer.failure is not None
    assert answer.failure.reason == "ImageError"


@pytest.mark.parametrize(("compute", "deploy"), [("a", "b"), ("b", "a")])
async def test_tasks_and_services_run_on_nodes_of_their_class(here: World, compute: str, deploy: str) -> None:
    for name in ("a", "b"):
        add_node(here.there.cluster, name)
    await here.backend.classify(compute, frozenset({NodeClass.COMPUTE, NodeClass.CONTROL}))
    await here.backend.classify(deploy, frozenset({NodeClass.DEPLOY}))
    for replica in ("one", "two", "three"):
        await here.backend.start(here.launch(replica))
    await here.until_ready("one", "two", "three")
    await try_a_model(here)
    assert nodes_of(here) == {deploy}
    assert nodes_of(here, tasks=True) == {compute}


@pytest.mark.parametrize("classes", [None, ALL], ids=["unclassified", "of all classes"])
async def test_a_single_node_has_everything(here: World, classes: frozenset[NodeClass] | None) -> None:
    add_node(here.there.cluster, "only")
    if classes:
        await here.backend.classify("only", classes)
    await here.backend.start(here.launch("one"))
    await here.until_ready("one")
    await try_a_model(here)
    assert nodes_of(here) == nodes_of(here, tasks=True) == {"only"}
    (node,) = await here.backend.nodes()
    assert frozenset(node.classes) == ALL


async def test_without_a_node_of_its_class_a_replica_waits_and_says_so(here: World) -> None:
    add_node(here.there.cluster, "only")
    await here.backend.classify("only", frozenset({NodeClass.COMPUTE}))
    await here.backend.start(here.launch("one"))
    async with asyncio.timeout(PATIENCE):
        while not (found := (await here.seen())["one"].failure):
            await asyncio.sleep(0.02)
    assert found.reason == "NoSuitableNode"
    assert "node affinity" in found.message
    await here.backend.classify("only", frozenset({NodeClass.COMPUTE, NodeClass.DEPLOY}))
    await here.until_ready("one")


@pytest.mark.parametrize("used", ["a", "b"])
async def test_a_pod_with_a_whole_card_goes_rather_where_cards_are_in_use(here: World, used: str) -> None:
    cluster = here.there.cluster
    for name in ("a", "b"):
        add_gpu_node(cluster, name, "t4", count=4)
    other = ({"a", "b"} - {used}).pop()
    cordon(here, other, yes=True)
    await here.backend.start(here.launch("one", spec=ONE_CARD, gpus=(0,)))
    await here.until_ready("one")
    cordon(here, other, yes=False)
    second = Key("default", "second")
    await here.backend.start(here.launch("two", key=second, spec=ONE_CARD, gpus=(0,)))
    await here.until_ready("two", key=second)
    assert nodes_of(here) == {used}
    without = Key("default", "without")
    for replica in ("three", "four"):
        await here.backend.start(here.launch(replica, key=without))
    await here.until_ready("three", "four", key=without)
    assert nodes_of(here) == {"a", "b"}, "who has no card spreads"


async def test_a_node_whose_cards_are_all_taken_is_no_obstacle(here: World) -> None:
    for name in ("a", "b"):
        add_gpu_node(here.there.cluster, name, "t4", count=1)
    for number, name in enumerate(("one", "two")):
        key = Key("default", name)
        await here.backend.start(here.launch(name, key=key, spec=ONE_CARD, gpus=(0,)))
        await here.until_ready(name, key=key)
        assert len(nodes_of(here)) == number + 1


def cordon(here: World, node: str, *, yes: bool) -> None:
    cluster = here.there.cluster
    patch = {"spec": {"unschedulable": yes}}
    cluster.patch(cluster.kind("Node"), ("", node), verbs.MERGE, patch, How(manager="kubectl"))
