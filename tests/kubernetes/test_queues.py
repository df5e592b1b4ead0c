"""Kueue decides when tasks begin: their Jobs wait suspended, say why, and are let begin in its order."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard import settings as chosen_settings
from modelyard.backends.base import Answer, TaskKind
from modelyard.backends.delivery import Grant, Tree
from modelyard.backends.kubernetes import names, queues
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.kinds import LOCAL_QUEUE
from modelyard.backends.kubernetes.render import queueing
from modelyard.backends.kubernetes.render.delivery import MANIFEST
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.composing import requiring
from modelyard.domain.errors import Invalid
from tests.kubernetes.render import cases
from tests.kubernetes.test_tasks import DOUBLES, HANGS, Lender, lender, nothing_left, task
from tests.kubernetes.worlds import World, world
from tests.support.cluster import crds, schemas
from tests.support.cluster.verbs import APPLY, MERGE, Cluster, Options

__all__ = ["lender"]  # a fixture

SERVED = "kueue.x-k8s.io/v1beta2/clusterqueues"
QUEUE = "modelyard-research"


def cluster_queue(name: str, cpu: str, cohort: str = "") -> dict[str, Any]:
    """A ClusterQueue of so many cores, which others of its cohort may borrow."""
    resource = {"name": "cpu", "nominalQuota": cpu}
    group = {"coveredResources": ["cpu"], "flavors": [{"name": "default", "resources": [resource]}]}
    spec = {"namespaceSelector": {}, "resourceGroups": [group]}
    return {"metadata": {"name": name}, "spec": spec | ({"cohortName": cohort} if cohort else {})}


def add(here: World, kind: str, value: dict[str, Any], namespace: str = "") -> None:
    here.there.cluster.create(here.there.cluster.kind(kind), namespace, value, Options(manager="test"))


@contextlib.asynccontextmanager
async def queued(path: Path, lender: Lender, cpu: str = "500m", served: bool = True) -> AsyncIterator[World]:
    """A cluster with Kueue and room for so many cores of tasks; each task asks for half a core."""
    known = frozenset({SERVED} if served else ())
    settings = Settings(artifact_url=lender.base, cluster_queue="research")
    async with world(path, processes=True, settings=settings, resources=known, extra=crds.KUEUE) as here:
        here.backend._options = replace(here.backend._options, courier=lender)
        if cpu:
            add(here, "ClusterQueue", cluster_queue("research", cpu))
        yield here


def run(here: World, lender: Lender, code: str = DOUBLES, **changes: Any) -> asyncio.Task[Answer]:
    return asyncio.create_task(here.backend.run(task(TaskKind.TEST, code, lender, **changes)))


async def until(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def ended(asked: asyncio.Task[Answer]) -> None:
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)


async def test_a_task_waits_until_kueue_lets_it_begin_and_says_why(tmp_path: Path, lender: Lender) -> None:
    async with queued(tmp_path, lender) as here:
        said: list[str] = []
        first = run(here, lender, HANGS)
        await until(lambda: here.objects("Pod"))
        second = run(here, lender, told=said.append)
        await until(lambda: any("insufficient" in each for each in said))
        assert said[-1] == (
            f"waits in LocalQueue {QUEUE}: couldn't assign flavors to pod set main: "
            "insufficient unused quota for cpu in flavor default, 500m more needed"
        )
        (local,) = here.objects("LocalQueue")
        assert (local["metadata"]["name"], local["spec"]) == (QUEUE, {"clusterQueue": "research"})
        jobs = {each["spec"]["suspend"] for each in here.objects("Job")}
        assert (len(here.objects("Pod")), jobs) == (1, {True, False})
        await ended(first)
        answer = await second
        assert answer.failure is None
        assert answer.result is not None
        assert answer.result["outputs"] == {"double": [3.0]}
        assert said[-1] == "", "then it runs"
        await nothing_left(here)


async def test_who_waits_too_long_is_told_what_kueue_says_and_leaves_nothing(
    tmp_path: Path, lender: Lender
) -> None:
    async with queued(tmp_path, lender, cpu="") as here:
        answer = await run(here, lender, patience_seconds=3.0)
        assert answer.failure is not None
        assert answer.failure.reason == "Queued"
        assert "waited 3 s: waits in LocalQueue modelyard-research: ClusterQueue research doesn't exist" in (
            answer.failure.message
        )
        await nothing_left(here)


async def test_what_is_evicted_waits_again_and_begins_anew(tmp_path: Path, lender: Lender) -> None:
    async with queued(tmp_path, lender) as here:
        said: list[str] = []
        asked = run(here, lender, HANGS, told=said.append)
        await until(lambda: here.objects("Pod") and said and not said[-1])
        (pod,) = here.objects("Pod")
        (work,) = here.objects("Workload")
        cluster, name = here.there.cluster, ("modelyard-default", work["metadata"]["name"])
        for active in (False, True):
            patch = {"spec": {"active": active}}
            cluster.patch(cluster.kind("Workload"), name, MERGE, patch, Options(manager="test"))
            if not active:
                await until(lambda: not here.objects("Pod") and "deactivated" in said[-1])
        await until(lambda: here.objects("Pod") and not said[-1])
        assert here.objects("Pod")[0]["metadata"]["uid"] != pod["metadata"]["uid"]
        assert not asked.done(), "it is no failure of the model"
        await ended(asked)
        await nothing_left(here)


async def test_a_job_that_somebody_deletes_while_it_waits_is_an_answer(
    tmp_path: Path, lender: Lender
) -> None:
    async with queued(tmp_path, lender, cpu="0") as here:
        asked = run(here, lender)
        await until(lambda: here.objects("Job"))
        (job,) = here.objects("Job")
        cluster, name = here.there.cluster, ("modelyard-default", job["metadata"]["name"])
        cluster.delete(cluster.kind("Job"), name, Options(manager="somebody"))
        answer = await asked
        assert answer.failure is not None
        assert (answer.failure.reason, "deleted the task's Job" in answer.failure.message) == (
            "Disrupted",
            True,
        )


async def test_what_waits_for_long_is_lent_its_files_anew_and_says_that_it_is_asked_for(
    tmp_path: Path, lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.backends.kubernetes.tasks._LENT_AGAIN_SECONDS", 1.0)
    lent: list[float] = []
    lend = lender.for_task

    async def counted(trees: Sequence[Tree], *, seconds: float, takes_bytes: int = 0) -> Grant:
        lent.append(seconds)
        grant = await lend(trees, seconds=seconds, takes_bytes=takes_bytes)
        return replace(grant, tokens={file.sha256: f"token-{len(lent)}" for file in grant.files})

    monkeypatch.setattr(lender, "for_task", counted)
    async with queued(tmp_path, lender, cpu="0") as here:
        asked = run(here, lender, timeout_seconds=3000.0, patience_seconds=6 * 3600.0)
        await until(lambda: here.objects("Job"))
        (job,) = here.objects("Job")
        before = int(job["metadata"]["annotations"][names.WAITS_UNTIL])
        assert before > time.time()
        await until(
            lambda: int(here.objects("Job")[0]["metadata"]["annotations"][names.WAITS_UNTIL]) > before
        )
        (waiting,), (read,) = here.objects("Job"), here.objects("Secret")
        assert waiting["metadata"]["uid"] == job["metadata"]["uid"]
        assert waiting["spec"]["suspend"] is True, "it keeps its place"
        assert read["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
        files = base64.b64decode(read["data"][MANIFEST]).decode()
        assert '"token-1"' not in files
        assert max(lent) <= 3600, "no task is lent files for longer"
        await ended(asked)
        await nothing_left(here)


async def test_jobs_that_wait_for_nobody_any_more_are_removed(tmp_path: Path, lender: Lender) -> None:
    async with queued(tmp_path, lender) as here:
        first = run(here, lender, HANGS)
        await until(lambda: here.objects("Pod"))
        second = run(here, lender)
        await until(lambda: len(here.objects("Job")) == 2)
        upkeep = here.backend._upkeep
        await upkeep.sweep()
        assert len(here.objects("Job")) == 2, "both are asked for"
        clock = upkeep._clock
        upkeep._clock = lambda: clock() + 1000
        await upkeep.sweep()
        (left,) = here.objects("Job")
        assert left["spec"]["suspend"] is False, "what runs ends by itself"
        answer = await second
        assert answer.failure is not None
        assert answer.failure.reason == "Disrupted"
        await ended(first)


async def test_without_kueue_the_platform_decides(tmp_path: Path, lender: Lender) -> None:
    async with queued(tmp_path, lender, served=False) as here:
        assert here.backend.admits_tasks() == ""
        answer = await run(here, lender)
        assert answer.failure is None
        assert here.objects("LocalQueue") == []
        here.backend.learn(Capabilities(resources=frozenset({SERVED})))
        assert here.backend.admits_tasks() == "Kueue (ClusterQueue research)"


async def test_a_local_queue_that_leads_elsewhere_goes_and_others_stay(
    tmp_path: Path, lender: Lender
) -> None:
    async with queued(tmp_path, lender) as here:
        add(here, "Namespace", {"metadata": {"name": "modelyard-default"}})
        theirs = {"metadata": {"name": "theirs"}, "spec": {"clusterQueue": "research"}}
        add(here, "LocalQueue", theirs, "modelyard-default")
        for wanted in ("old", "research", "research"):
            await queues.prepare(here.backend._cluster, Settings(cluster_queue=wanted), "default")
        assert sorted(each["metadata"]["name"] for each in here.objects("LocalQueue")) == [QUEUE, "theirs"]
        assert (await here.backend._cluster.get(LOCAL_QUEUE, QUEUE, namespace="modelyard-default"))["spec"]


@pytest.mark.parametrize("name", ["Research", "a/b", "-a", "a b"])
def test_a_name_that_no_cluster_queue_has_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match=r"kubernetes\.cluster_queue: .* is no name of a ClusterQueue"):
        requiring.require(chosen(name))
    for good in ("", "a.b-c"):
        requiring.require(chosen(good))


def chosen(cluster_queue: str) -> chosen_settings.Settings:
    return chosen_settings.Settings(kubernetes=chosen_settings.Kubernetes(cluster_queue=cluster_queue))


@pytest.mark.parametrize(
    ("served", "name", "said"),
    [
        (True, "research", "Kueue: ClusterQueue research"),
        (True, "", "the platform's own; Kueue's where kubernetes.cluster_queue names a ClusterQueue"),
        (False, "research", "the platform's own, as no Kueue serves kubernetes.cluster_queue research"),
        (False, "", "the platform's own"),
    ],
)
def test_it_is_said_which_queue_counts(served: bool, name: str, said: str) -> None:
    assert queues.told(name, Capabilities(resources=frozenset({SERVED} if served else ()))) == said


def test_what_is_rendered_is_what_a_cluster_with_kueue_takes() -> None:
    there = Cluster(schemas.load("1.37", crds.KUEUE), clock=lambda: 0.0, extra=[r for r, _ in crds.KUEUE])
    made = queueing.local_queue("default", "default", "research.gpu")
    assert len(queueing.name_of("a" * 253)) <= 63, "it is the value of a label too"
    for _ in range(2):
        place, how = ("default", made["metadata"]["name"]), Options(manager="modelyard", force=True)
        there.patch(there.kind("LocalQueue"), place, APPLY, made, how)
    (each,) = there.store.list(there.kind("LocalQueue"))
    assert each["spec"] == {"clusterQueue": "research.gpu"}


def test_a_job_waits_suspended_in_the_queue_and_its_pods_carry_no_label_of_it() -> None:
    made = {each["kind"]: each for each in cases.task(cluster_queue="research")}["Job"]
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["labels"][queueing.QUEUE] == "modelyard-research"
    assert queueing.QUEUE not in made["spec"]["template"]["metadata"]["labels"], "pods are not queued twice"
    plain = {each["kind"]: each for each in cases.task()}["Job"]
    assert "suspend" not in plain["spec"]
    assert queueing.QUEUE not in plain["metadata"]["labels"]
