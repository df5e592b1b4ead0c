"""Deployments roll, jobs end, pods find nodes or say why not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.manifests import deployment, pod_spec
from tests.support.cluster import schemas, verbs
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.kubelets import CRASH, Part
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.scaling import evict
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.writing import condition, is_leaving, is_ready

BY_TEST = Options(manager="test")
NAME = ("default", "demo-r1")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def there(clock: Clock) -> Control:
    cluster = Cluster(schemas.load("1.37"), clock=clock)
    add_node(cluster, "one")
    return Control(cluster)


def create(there: Control, value: Object) -> Object:
    cluster = there.cluster
    return cluster.create(cluster.kind(value["kind"]), "default", value, BY_TEST)


def pods(there: Control) -> list[Object]:
    return there.cluster.store.list(there.cluster.kind("Pod"))


def wait(there: Control, clock: Clock, seconds: float, *, each: Any = lambda: None) -> None:
    for _ in range(int(seconds * 2)):
        clock.now += 0.5
        there.settle()
        each()


def test_a_rolling_update_never_goes_below_what_must_be_available(there: Control, clock: Clock) -> None:
    rolling = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}, "type": "RollingUpdate"}
    create(there, deployment(replicas=3, strategy=rolling))
    wait(there, clock, 5)
    assert sum(map(is_ready, pods(there))) == 3
    newer = deployment(image="x:2", replicas=3, strategy=rolling)
    there.cluster.patch(
        there.cluster.kind("Deployment"), NAME, verbs.APPLY, newer, Options(manager="t", force=True)
    )
    seen = []

    def look() -> None:
        living = [p for p in pods(there) if not is_leaving(p)]
        seen.append((sum(map(is_ready, living)), len(living)))

    wait(there, clock, 20, each=look)
    assert min(ready for ready, _ in seen) >= 3
    assert max(count for _, count in seen) <= 4
    assert {p["spec"]["containers"][0]["image"] for p in pods(there)} == {"x:2"}
    status = there.cluster.read(there.cluster.kind("Deployment"), NAME)["status"]
    assert (status["readyReplicas"], condition(status, "Progressing")["reason"]) == (
        3,
        "NewReplicaSetAvailable",
    )


def test_a_rollout_that_gets_nowhere_says_so(there: Control, clock: Clock) -> None:
    there.script = lambda pod: Part(fails=CRASH)
    create(there, deployment(replicas=1, progressDeadlineSeconds=10))
    wait(there, clock, 15)
    status = there.cluster.read(there.cluster.kind("Deployment"), NAME)["status"]
    assert condition(status, "Progressing")["reason"] == "ProgressDeadlineExceeded"
    [pod] = pods(there)
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == CRASH


def test_what_has_no_place_says_why_and_starts_when_there_is_one(there: Control, clock: Clock) -> None:
    spec = pod_spec()
    spec["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    spec["nodeSelector"] = {"nvidia.com/gpu.product": "Tesla-T4"}
    create(there, {"kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    add_node(there.cluster, "two", labels={"nvidia.com/gpu.product": "Tesla-T4"})
    there.settle()
    [pod] = pods(there)
    message = condition(pod["status"], "PodScheduled")["message"]
    assert message == (
        "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, "
        "1 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are available: "
        "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    )
    add_node(there.cluster, "card", labels={"nvidia.com/gpu.product": "Tesla-T4"}, nvidia_com__gpu="1")
    wait(there, clock, 4)
    assert pods(there)[0]["spec"]["nodeName"] == "card"


@pytest.mark.parametrize(("code", "kind"), [(0, "Complete"), (1, "Failed")])
def test_a_job_ends_with_its_pods(there: Control, clock: Clock, code: int, kind: str) -> None:
    there.script = lambda pod: Part(ends_after=2, exit_code=code)
    spec = {**pod_spec(), "restartPolicy": "Never"}
    job = {"template": {"spec": spec}, "completions": 2, "parallelism": 2, "backoffLimit": 1}
    create(there, {"kind": "Job", "metadata": {"name": "j"}, "spec": job})
    wait(there, clock, 8)
    status = there.cluster.read(there.cluster.kind("Job"), ("default", "j"))["status"]
    assert condition(status, kind)["status"] == "True"


def test_endpoints_follow_readiness_and_a_budget_guards_the_last_pod(there: Control, clock: Clock) -> None:
    create(there, deployment(replicas=1))
    selector = {"app": "demo"}
    create(
        there,
        {
            "kind": "Service",
            "metadata": {"name": "demo"},
            "spec": {"selector": selector, "ports": [{"port": 80}]},
        },
    )
    budget = {"minAvailable": 1, "selector": {"matchLabels": selector}}
    create(there, {"kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": budget})
    slices = there.cluster.kind("EndpointSlice")
    wait(there, clock, 1)
    [endpoint] = there.cluster.read(slices, ("default", "demo-slice"))["endpoints"]
    assert endpoint["conditions"]["ready"] is False
    wait(there, clock, 4)
    [endpoint] = there.cluster.read(slices, ("default", "demo-slice"))["endpoints"]
    assert endpoint["conditions"]["ready"] is True
    [pod] = pods(there)
    with pytest.raises(Refusal, match="disruption budget") as told:
        evict(there.cluster, ("default", pod["metadata"]["name"]), BY_TEST)
    assert told.value.code == 429


def test_an_autoscaler_follows_its_metric_within_its_bounds(there: Control, clock: Clock) -> None:
    create(there, deployment(replicas=1))
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "demo-r1"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, "metrics": [metric]}
    create(there, {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec})
    there.settle()
    there.autoscalers.metrics = {"cpu": 100.0}
    wait(there, clock, 15)
    assert there.cluster.read(there.cluster.kind("Deployment"), NAME)["spec"]["replicas"] == 2
    there.autoscalers.metrics = {"cpu": 52.0}
    wait(there, clock, 30)
    assert there.cluster.read(there.cluster.kind("Deployment"), NAME)["spec"]["replicas"] == 2
    there.autoscalers.metrics = {"cpu": 200.0}
    wait(there, clock, 30)
    assert there.cluster.read(there.cluster.kind("Deployment"), NAME)["spec"]["replicas"] == 3
