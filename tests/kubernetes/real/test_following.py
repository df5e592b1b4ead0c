"""Informers and leases against an API server that nobody made for them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.informers import Informer
from modelyard.backends.kubernetes.leases import Leadership, Terms
from tests.cluster.manifests import config
from tests.support.patience import PATIENCE

TERMS = Terms(lease_seconds=6, renew_seconds=4, retry_seconds=0.2)
SECRET = {"apiVersion": "v1", "kind": "Secret", "data": {"password": "aHVudGVyMg=="}}


def named(space: str, name: str, **data: str) -> dict[str, Any]:
    return {**config(name, **data), "metadata": {"name": name, "namespace": space, "labels": {"ours": "yes"}}}


@contextlib.asynccontextmanager
async def informed(
    cluster: Cluster, kind: kinds.Kind, space: str, **options: Any
) -> AsyncIterator[tuple[Informer, list[str]]]:
    told: list[str] = []
    informer = Informer(
        cluster,
        kind,
        namespace=space,
        labels="ours=yes",
        changed=lambda _, name: told.append(name),
        **options,
    )
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await informer.until_synced()
        yield informer, told
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.02)


async def test_an_informer_knows_what_there_is_and_what_happens(cluster: Cluster, space: str) -> None:
    await cluster.create(named(space, "a"))
    async with informed(cluster, kinds.CONFIG_MAP, space) as (informer, told):
        assert told == ["a"]
        await cluster.create(named(space, "b"))
        await cluster.apply(named(space, "a", x="1"), manager="other")
        await cluster.delete(kinds.CONFIG_MAP, "b", namespace=space)
        await until(lambda: len(told) == 4)
        assert told == ["a", "b", "a", "b"]
        found = informer.get(space, "a")
        assert found is not None
        assert found["data"] == {"x": "1"}
        assert (informer.stale_seconds, informer.trouble) == (0, "")


async def test_a_write_of_ours_is_seen_at_once_and_told_once(cluster: Cluster, space: str) -> None:
    async with informed(cluster, kinds.CONFIG_MAP, space) as (informer, told):
        informer.put(await cluster.apply(named(space, "a")))
        assert [each["metadata"]["name"] for each in informer.items()] == ["a"]
        await cluster.apply(named(space, "b"))
        await until(lambda: "b" in told)
        assert told == ["a", "b"]


async def test_secrets_are_followed_without_what_is_in_them(cluster: Cluster, space: str) -> None:
    metadata = {"namespace": space, "labels": {"ours": "yes"}}
    await cluster.create({**SECRET, "metadata": {**metadata, "name": "s"}})
    async with informed(cluster, kinds.SECRET, space, metadata_only=True) as (informer, _):
        await cluster.create({**SECRET, "metadata": {**metadata, "name": "t"}})
        await until(lambda: len(informer.items()) == 2)
        assert "password" not in str(informer.items())
        assert {(each["apiVersion"], each["kind"]) for each in informer.items()} == {("v1", "Secret")}


async def test_of_two_one_leads_and_the_other_follows_when_it_goes(cluster: Cluster, space: str) -> None:
    one, two = (
        Leadership(cluster, space, "modelyard", identity=name, clock=time.time, terms=TERMS)
        for name in ("one", "two")
    )
    first = asyncio.create_task(one.run())
    await until(lambda: one.leads)
    second = asyncio.create_task(two.run())
    await asyncio.sleep(1)
    assert (one.leads, two.leads) == (True, False)
    first.cancel()
    await asyncio.wait({first})
    await until(lambda: two.leads)
    lease = await cluster.get(kinds.LEASE, "modelyard", namespace=space)
    assert (lease["spec"]["holderIdentity"], two.epoch) == ("two", 2)
    second.cancel()
    await asyncio.wait({second})
    lease = await cluster.get(kinds.LEASE, "modelyard", namespace=space)
    assert lease["spec"]["holderIdentity"] == ""
