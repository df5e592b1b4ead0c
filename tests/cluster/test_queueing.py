"""The cluster's Kueue: jobs begin in order, borrow within a cohort, and give back what was borrowed."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.test_queues import cluster_queue
from tests.support.cluster import schemas
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.crds import KUEUE
from tests.support.cluster.kubelets import Part
from tests.support.cluster.verbs import MERGE, Cluster, Options


class Scene:
    """Two projects, each with a queue of its own, of one cohort."""

    def __init__(self, *queues: dict[str, Any]) -> None:
        self.now = 0.0
        extra = [resource for resource, _ in KUEUE]
        self.cluster = Cluster(schemas.load("1.37", KUEUE), clock=lambda: self.now, extra=extra)
        self.control = Control(self.cluster, lambda pod: Part())
        add_node(self.cluster, "node-1", cpu="64")
        for name in ("a", "b"):
            self.add("Namespace", {"metadata": {"name": name}})
            self.add("ServiceAccount", {"metadata": {"name": "default"}}, name)
            local = {"metadata": {"name": "q"}, "spec": {"clusterQueue": name}}
            self.add("LocalQueue", local, name)
        for queue in queues:
            self.add("ClusterQueue", queue)

    def add(self, kind: str, value: dict[str, Any], namespace: str = "") -> None:
        self.cluster.create(self.cluster.kind(kind), namespace, value, Options(manager="test"))

    def job(self, name: str, namespace: str, queue: str = "q", **spec: Any) -> None:
        """A job of one core that somebody wrote."""
        self.now += 1.0
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        metadata = {"name": name, "labels": {"kueue.x-k8s.io/queue-name": queue} if queue else {}}
        self.add("Job", {"metadata": metadata, "spec": {"template": template, **spec}}, namespace)
        self.control.settle()

    def end(self, name: str, namespace: str) -> None:
        """Somebody deletes it."""
        self.cluster.delete(self.cluster.kind("Job"), (namespace, name), Options(manager="test"))
        self.control.settle()

    @property
    def runs(self) -> list[str]:
        found = self.cluster.store.list(self.cluster.kind("Job"))
        return sorted(each["metadata"]["name"] for each in found if not each["spec"]["suspend"])

    def said(self, namespace: str) -> list[str]:
        found = self.cluster.store.list(self.cluster.kind("Workload"), namespace)
        conditions = [c for each in found for c in each["status"]["conditions"]]
        return [c["message"] for c in conditions if (c["type"], c["status"]) == ("QuotaReserved", "False")]


def test_jobs_begin_in_order_and_one_that_is_not_suspended_is() -> None:
    here = Scene(cluster_queue("a", "1"))
    for name in ("one", "two", "three"):
        here.job(name, "a")
    assert here.runs == ["one"]
    assert set(here.said("a")) == {
        "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, "
        "1 more needed"
    }
    here.end("one", "a")
    assert here.runs == ["two"]


def test_a_queue_borrows_and_what_lies_within_ones_own_goes_first() -> None:
    here = Scene(cluster_queue("a", "1", "all"), cluster_queue("b", "1", "all"))
    for name in ("a1", "a2", "a3"):
        here.job(name, "a")
    assert here.runs == ["a1", "a2"]
    here.job("b1", "b")
    here.end("a1", "a")
    assert here.runs == ["a2", "b1"], "though a3 came before it"


def test_who_names_no_queue_is_let_alone_and_a_wrong_one_is_told() -> None:
    here = Scene(cluster_queue("a", "1"))
    here.job("free", "a", queue="")
    here.job("lost", "a", queue="nowhere", suspend=True)
    here.job("stray", "b")
    assert here.runs == ["free"]
    assert here.said("a") == ["LocalQueue nowhere doesn't exist"]
    assert here.said("b") == ["ClusterQueue b doesn't exist"]


def test_what_is_deactivated_is_evicted_and_its_place_is_another_ones() -> None:
    here = Scene(cluster_queue("a", "1"))
    here.job("one", "a")
    (work,) = here.cluster.store.list(here.cluster.kind("Workload"))
    here.job("two", "a")
    name, patch = ("a", work["metadata"]["name"]), {"spec": {"active": False}}
    here.cluster.patch(here.cluster.kind("Workload"), name, MERGE, patch, Options(manager="test"))
    here.control.settle()
    assert here.runs == ["two"]
