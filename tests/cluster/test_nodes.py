"""Nodes that lose their power: when the cluster notices, and what becomes of their pods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.here import Here, container
from tests.cluster.manifests import deployment, pod_spec
from tests.support.cluster import nodes, schemas, verbs
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.nodes import OFF, UNREACHABLE, Patience
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import condition, is_leaving, is_ready

BY_TEST = Options(manager="test")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Cell:
    """A cluster of two nodes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cluster = Cluster(schemas.load("1.37"), clock=self.clock)
        for name in ("one", "two"):
            add_node(self.cluster, name)
        self.control = Control(self.cluster)

    def pass_by(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.now += 1
            self.control.settle()

    def create(self, value: Object) -> None:
        self.cluster.create(self.cluster.kind(value["kind"]), "default", value, BY_TEST)

    def pods(self, node: str = "") -> list[Object]:
        found = self.cluster.store.list(self.cluster.kind("Pod"), "default")
        return [each for each in found if node in ("", each["spec"].get("nodeName"))]

    def node(self, name: str) -> Object:
        return self.cluster.read(self.cluster.kind("Node"), ("", name))

    def power(self, name: str, *, on: bool) -> None:
        patch = {"metadata": {"annotations": {OFF: None if on else "yes"}}}
        self.cluster.patch(self.cluster.kind("Node"), ("", name), verbs.MERGE, patch, BY_TEST)


@pytest.fixture
def cell() -> Cell:
    made = Cell()
    made.create(deployment(replicas=4))
    made.pass_by(10)
    assert [len(made.pods(name)) for name in ("one", "two")] == [2, 2]
    return made


def test_the_cluster_believes_in_a_silent_node_for_a_while(cell: Cell) -> None:
    cell.power("one", on=False)
    cell.pass_by(30)
    assert condition(cell.node("one")["status"], "Ready")["status"] == "True"
    assert all(map(is_ready, cell.pods()))
    cell.pass_by(15)
    assert condition(cell.node("one")["status"], "Ready")["reason"] == "NodeStatusUnknown"
    assert {each["key"] for each in cell.node("one")["spec"]["taints"]} == {UNREACHABLE}
    assert not any(map(is_ready, cell.pods("one")))
    assert all(map(is_ready, cell.pods("two")))
    assert not any(map(is_leaving, cell.pods()))


def test_its_pods_are_replaced_elsewhere_and_their_names_stay_until_it_is_back(cell: Cell) -> None:
    cell.power("one", on=False)
    cell.pass_by(360)
    assert len(cell.pods("one")) == 2
    assert all(map(is_leaving, cell.pods("one")))
    assert [is_ready(each) for each in cell.pods("two")] == [True] * 4
    cell.power("one", on=True)
    cell.pass_by(10)
    assert cell.pods("one") == []
    assert condition(cell.node("one")["status"], "Ready")["status"] == "True"
    assert not cell.node("one")["spec"].get("taints")


def test_a_node_that_is_soon_back_keeps_its_pods(cell: Cell) -> None:
    before = {each["metadata"]["name"] for each in cell.pods()}
    cell.power("one", on=False)
    cell.pass_by(100)
    cell.power("one", on=True)
    cell.pass_by(10)
    assert {each["metadata"]["name"] for each in cell.pods()} == before
    assert all(map(is_ready, cell.pods()))


@pytest.mark.parametrize(
    ("toleration", "seconds"),
    [
        ({"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}, 5),
        ({"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}, None),
        ({"operator": "Exists"}, None),
        ({"key": "other", "operator": "Exists", "tolerationSeconds": 5, "effect": "NoExecute"}, 300),
    ],
)
def test_a_pod_says_how_long_it_stays(toleration: dict[str, Any], seconds: float | None) -> None:
    cell = Cell()
    spec = {**pod_spec(), "tolerations": [toleration], "nodeName": "one"}
    cell.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    cell.pass_by(5)
    cell.power("one", on=False)
    cell.pass_by(Patience().notice + 2)
    cell.pass_by((seconds or 500) - 4)
    assert not any(map(is_leaving, cell.pods()))
    cell.pass_by(6)
    assert all(map(is_leaving, cell.pods())) == (seconds is not None)


async def test_processes_end_with_the_power_and_run_again_with_it(here: Here) -> None:
    here.control.patience = Patience(notice=0.2, evict=3600)
    here.pod("web", container("sleep", "1000"), terminationGracePeriodSeconds=0)
    await here.until(lambda: "running" in here.container("web").get("state", {}))
    uid = here.seen("web")["metadata"]["uid"]
    kind, pod = here.cluster.kind("Node"), here.kubelet.pods[uid]
    process = pod.parts[0].container
    assert process is not None
    off = {"metadata": {"annotations": {OFF: "yes"}}}
    here.cluster.patch(kind, ("", "node-1"), verbs.MERGE, off, here.options)
    await here.until(lambda: process.exit_code is not None)
    await here.until(lambda: condition(here.seen("web")["status"], "Ready")["status"] == "False")
    assert "running" in here.container("web")["state"], "nobody can say that it is not"
    assert nodes.is_off(here.kubelet.hand, here.seen("web"))
    off["metadata"]["annotations"][OFF] = None  # type: ignore[assignment]
    here.cluster.patch(kind, ("", "node-1"), verbs.MERGE, off, here.options)
    await here.until(lambda: condition(here.seen("web")["status"], "Ready")["status"] == "True")
    assert here.kubelet.pods[uid] is not pod
