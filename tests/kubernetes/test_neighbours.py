"""Two installations in one cluster: each looks after its own, and takes nothing of the other's for its."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.backend import KubernetesBackend
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.deployment import Phase
from tests.backends.things import KEY
from tests.kubernetes.worlds import World, connected, world
from tests.support.cluster import verbs
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Options as How

OURS = "modelyard-default"
BESIDE = Settings(namespace_prefix="ml", system_namespace="ml-system")


@asynccontextmanager
async def two(path: Path) -> AsyncIterator[tuple[World, KubernetesBackend]]:
    """A ready replica of the first installation, and the backend of one beside it."""
    async with world(path) as here:
        await here.backend.start(here.launch("a"))
        await here.until_ready("a")
        other = connected(here.kubeconfig, BESIDE)
        try:
            yield here, other
        finally:
            await other.close()


def held(here: World, namespace: str = OURS) -> dict[tuple[str, str], str]:
    """What there is, as it was wanted: without what changes by itself."""
    kinds = ("Deployment", "Service", "ConfigMap", "Secret", "Job", "PodDisruptionBudget", "Pod")
    found = [(kind, each) for kind in kinds for each in here.objects(kind, namespace)]
    return {(kind, each["metadata"]["name"]): said(each) for kind, each in found}


def said(value: Object) -> str:
    return json.dumps([value["metadata"].get("labels"), value.get("spec"), value.get("data")], sort_keys=True)


def create(here: World, kind: str, name: str, labels: dict[str, str], **more: Any) -> None:
    cluster = here.there.cluster
    value = {"metadata": {"name": name, "labels": labels}, **more}
    cluster.create(cluster.kind(kind), OURS, value, How(manager="modelyard"))


async def test_what_lives_in_namespaces_of_others_is_no_deployment_of_ours(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, other):
        assert await here.backend.keys() == {KEY}
        assert await other.keys() == frozenset()
        assert await other.observe(KEY) == ()


async def test_deployments_of_the_same_name_live_and_end_beside_one_another(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, other):
        await other.start(here.launch("b"))
        assert {each.name for each in await here.backend.observe(KEY)} == {"a"}
        assert {each.name for each in await other.observe(KEY)} == {"b"}
        before = held(here)
        await other.kill(KEY, "b")
        await other.kill(KEY, "a")
        assert held(here) == before
        (replica,) = await here.backend.observe(KEY)
        assert replica.phase is Phase.READY


async def test_a_look_at_everything_mends_and_removes_nothing_of_others(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, other):
        create(here, "ConfigMap", "churn-r1-config-x", names.labels(KEY, 1), data={"a": "b"})
        task = {names.MANAGED_BY: names.MANAGER, names.PROJECT: "default", names.TASK: "t-1"}
        create(here, "Secret", "t-1", task)
        cluster = here.there.cluster
        patch = {"spec": {"template": {"spec": {"priorityClassName": "high"}}}}
        where, how = (OURS, "churn-r2"), How(manager="kubectl-edit")
        cluster.patch(cluster.kind("Deployment"), where, verbs.MERGE, patch, how)
        before = held(here)
        await other.keys()  # it follows
        other._upkeep._clock = lambda: time.time() + 10_000
        await other._upkeep.sweep()
        assert held(here).items() >= {k: v for k, v in before.items() if k[0] != "Pod"}.items()
