"""Whose the namespaces of a cluster are: said by a ConfigMap, and kept by whoever comes later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.kubernetes import kinds, names
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.composing import identity
from modelyard.composing.identity import Claim
from modelyard.domain.errors import Conflict, Forbidden
from modelyard.installing import foundation
from tests.support.cluster.faults import Status
from tests.support.cluster.running import Running, running

SYSTEM = "modelyard-system"
FIRST = Claim(
    id="aaaa", namespace=SYSTEM, prefix="modelyard", since="2026-03-01T08:00:00+00:00", by="modelyard-5d9f"
)
SECOND = replace(FIRST, id="bbbb", since="2026-11-28T11:00:00+00:00", by="laptop-4711")


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as found:
        yield found


@pytest.fixture
async def cluster(server: Running, tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(config.load({}, kubeconfig=str(server.kubeconfig(tmp_path))), clock=time.time)
    yield made
    await made.close()


async def said(cluster: Cluster, namespace: str = SYSTEM) -> dict[str, str]:
    found = await cluster.get(kinds.CONFIG_MAP, identity.NAME, namespace=namespace)
    assert found["metadata"]["labels"] == {names.MANAGED_BY: names.MANAGER}
    return dict(found["data"])


async def test_the_first_start_says_who_has_the_namespaces_and_since_when(cluster: Cluster) -> None:
    await identity.require(cluster, FIRST)
    assert await said(cluster) == {
        "id": "aaaa", "namespace_prefix": "modelyard", "since": FIRST.since, "by": "modelyard-5d9f",
    }  # fmt: skip
    assert identity.NAME == foundation.INSTALLATION


async def test_it_goes_on_wherever_and_whenever_it_starts_again(cluster: Cluster, server: Running) -> None:
    await identity.require(cluster, FIRST)
    before = await said(cluster)
    server.server.requests.clear()
    await identity.require(cluster, replace(SECOND, id=FIRST.id))
    assert await said(cluster) == before
    assert all(each.startswith("GET ") for each in server.server.requests)


async def test_another_is_refused_and_told_whose_they_are_and_what_it_can_do(cluster: Cluster) -> None:
    await identity.require(cluster, FIRST)
    before = await said(cluster)
    with pytest.raises(Conflict) as refused:
        await identity.require(cluster, SECOND)
    words = refused.value.message
    assert f"the namespace {SYSTEM} of the cluster at {cluster.access.server} is another Modelyard's" in words
    assert "aaaa" in words
    assert "modelyard-5d9f" in words
    assert "2026-03-01T08:00:00+00:00" in words
    assert "kubernetes.system_namespace and kubernetes.namespace_prefix" in words
    command = "`kubectl --context test delete configmap modelyard-installation --namespace modelyard-system`"
    assert command in words
    assert await said(cluster) == before


async def test_whoever_deletes_what_says_so_lets_the_next_one_have_them(cluster: Cluster) -> None:
    await identity.require(cluster, FIRST)
    await cluster.delete(kinds.CONFIG_MAP, identity.NAME, namespace=SYSTEM)
    await identity.require(cluster, SECOND)
    assert (await said(cluster))["id"] == "bbbb"


async def test_of_many_that_start_at_once_one_has_them(cluster: Cluster) -> None:
    everyone = [replace(FIRST, id=f"number-{number}") for number in range(8)]
    outcomes = await asyncio.gather(
        *(identity.require(cluster, each) for each in everyone), return_exceptions=True
    )
    (winner,) = [each for each, outcome in zip(everyone, outcomes, strict=True) if outcome is None]
    assert all(isinstance(outcome, Conflict) for outcome in outcomes if outcome is not None)
    assert (await said(cluster))["id"] == winner.id


async def test_control_planes_of_one_installation_start_at_once(cluster: Cluster) -> None:
    await asyncio.gather(*(identity.require(cluster, replace(FIRST, by=f"{n}")) for n in range(4)))
    assert (await said(cluster))["id"] == "aaaa"


async def test_one_beside_it_needs_namespaces_of_its_own_for_projects_too(cluster: Cluster) -> None:
    await identity.require(cluster, FIRST)
    half = replace(SECOND, namespace="ml-system")
    with pytest.raises(Conflict, match=r"namespace_prefix: .*modelyard-PROJECT.* aaaa") as refused:
        await identity.require(cluster, half)
    assert f"delete configmap modelyard-installation --namespace {SYSTEM}`" in refused.value.message
    assert not [
        each
        for each in (await cluster.list(kinds.CONFIG_MAP, namespace="ml-system")).items
        if each["metadata"]["name"] == identity.NAME
    ]
    await identity.require(cluster, replace(half, prefix="ml"))
    await identity.require(cluster, FIRST)
    assert (await said(cluster, "ml-system"))["id"] == "bbbb"


async def test_nobody_keeps_it_from_starting_by_a_config_map_of_theirs(cluster: Cluster) -> None:
    await identity.require(cluster, FIRST)
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}})
    await cluster.create(identity.config_map(replace(SECOND, namespace="theirs")))
    await identity.require(cluster, FIRST)


async def test_another_prefix_is_remembered(cluster: Cluster) -> None:
    await identity.require(cluster, FIRST)
    await identity.require(cluster, replace(FIRST, prefix="ml", since="later", by="somebody"))
    assert await said(cluster) == {
        "id": "aaaa", "namespace_prefix": "ml", "since": FIRST.since, "by": "modelyard-5d9f",
    }  # fmt: skip
    with pytest.raises(Conflict, match=r"kubernetes\.namespace_prefix"):
        await identity.require(cluster, replace(SECOND, namespace="ml-system", prefix="ml"))


@pytest.mark.parametrize("data", [{}, {"id": ""}, None])
async def test_one_that_says_nothing_stays(cluster: Cluster, data: dict[str, str] | None) -> None:
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    empty = {**identity.config_map(FIRST), "data": data}
    await cluster.create({name: value for name, value in empty.items() if value is not None})
    with pytest.raises(Conflict, match="unknown, since an unknown time"):
        await identity.require(cluster, FIRST)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_rights_that_are_missing_are_named(cluster: Cluster, server: Running, method: str) -> None:
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    ends = ("configmaps", identity.NAME)
    server.server.faults.add(Status(403), where=lambda how, path: how == method and path.endswith(ends))
    with pytest.raises(Forbidden, match=rf"ConfigMap {SYSTEM}/modelyard-installation .*install kubernetes"):
        await identity.require(cluster, FIRST)
