"""Informers against an API server that fails in every way it can."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.informers import Informer, Pace
from tests.cluster.manifests import config
from tests.kubernetes.client.scripted import Asked, scripted
from tests.support.cluster.faults import Cut, Hang, Status
from tests.support.connected import Counting, client, connected
from tests.support.patience import PATIENCE

PLACE = "/api/v1/namespaces/default/configmaps"
BRISK = Pace(first_pause=0.02, longest_pause=0.1)


def settings(name: str, **data: str) -> dict[str, Any]:
    manifest = config(name, **data)
    manifest["metadata"]["namespace"] = "default"
    return manifest


@contextlib.asynccontextmanager
async def informed(cluster: Cluster, **options: Any) -> AsyncIterator[tuple[Informer, list[str]]]:
    """A running informer of config maps, and the names that it told of."""
    told: list[str] = []
    chosen: dict[str, Any] = {"pace": BRISK, "changed": lambda _, name: told.append(name)} | options
    informer = Informer(cluster, kinds.CONFIG_MAP, namespace="default", **chosen)
    task = asyncio.create_task(informer.run())
    try:
        yield informer, told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def names(informer: Informer) -> list[str]:
    return sorted(each["metadata"]["name"] for each in informer.items())


def is_watch(method: str, path: str) -> bool:
    return method == "WATCH"


def is_list(method: str, path: str) -> bool:
    return method == "GET" and path == PLACE


async def test_it_knows_what_there_is_and_what_happens_with_one_request() -> None:
    counting = Counting()
    async with connected(observer=counting) as (there, cluster):
        await cluster.create(settings("a"))
        async with informed(cluster) as (informer, told):
            assert not informer.synced
            assert informer.stale_since is not None
            await informer.until_synced()
            assert (names(informer), told, informer.stale_seconds) == (["a"], ["a"], 0)
            await cluster.create(settings("b"))
            await cluster.apply(settings("a", x="1"), manager="other")
            await cluster.delete(kinds.CONFIG_MAP, "b", namespace="default")
            await until(lambda: len(told) == 4)
            assert told == ["a", "b", "a", "b"]
            found = informer.get("default", "a")
            assert found is not None
            assert found["data"] == {"x": "1"}
            assert "managedFields" not in found["metadata"]
            assert [each for each in there.server.requests if each.endswith("configmaps")] == [
                f"POST {PLACE}",
                f"WATCH {PLACE}",
                f"POST {PLACE}",
            ]
            assert counting.followed["configmaps in default"]() == 0


@pytest.mark.parametrize("fault", [Status(400), Status(422), Status(403)])
async def test_a_server_that_does_not_stream_lists_is_listed_and_watched(fault: Status) -> None:
    async with connected() as (there, cluster):
        await cluster.create(settings("a"))
        there.server.faults.add(fault, where=is_watch)
        async with informed(cluster) as (informer, told):
            await informer.until_synced()
            await cluster.create(settings("b"))
            await until(lambda: told == ["a", "b"])
            assert names(informer) == ["a", "b"]
            assert f"GET {PLACE}" in there.server.requests


async def test_an_older_version_is_listed_at_once() -> None:
    version = {"major": "1", "minor": "31+"}
    listing = {"metadata": {"resourceVersion": "7"}, "items": [settings("a")]}

    async def script(asked: Asked) -> None:
        if asked.target == "/version":
            return await asked.answer(200, version)
        if "watch=1" not in asked.target:
            return await asked.answer(200, listing)
        assert "resourceVersion=7" in asked.target
        await asked.begin()
        await asyncio.sleep(30)
        return None

    async with scripted(script) as there, client(there.url) as cluster, informed(cluster) as (informer, _):
        await informer.until_synced()
        await until(lambda: informer.stale_since is None)
        assert names(informer) == ["a"]


async def test_a_server_that_says_nothing_of_an_end_is_listed_instead() -> None:
    async def script(asked: Asked) -> None:
        if asked.target == "/version":
            return await asked.answer(200, {"major": "1", "minor": "37"})
        if "watch=1" not in asked.target:
            return await asked.answer(200, {"metadata": {"resourceVersion": "7"}, "items": [settings("a")]})
        await asked.begin()
        await asyncio.sleep(30)
        return None

    pace = Pace(initial_seconds=0.2, first_pause=0.02)
    async with (
        scripted(script) as there,
        client(there.url) as cluster,
        informed(cluster, pace=pace) as (informer, _),
    ):
        await informer.until_synced()
        assert names(informer) == ["a"]


async def test_a_break_in_the_middle_goes_on_where_it_was() -> None:
    async with connected() as (there, cluster):
        there.server.faults.add(Cut(after_events=3), where=is_watch)
        async with informed(cluster) as (informer, told):
            await informer.until_synced()
            for number in range(6):
                await cluster.create(settings(f"c{number}"))
            await until(lambda: len(told) == 6)
            assert told == [f"c{n}" for n in range(6)]
            assert sum(each == f"WATCH {PLACE}" for each in there.server.requests) == 2


async def test_what_was_forgotten_is_read_anew_and_what_went_meanwhile_is_told() -> None:
    async with connected() as (there, cluster):
        await cluster.create(settings("stays"))
        await cluster.create(settings("goes"))
        async with informed(cluster, pace=Pace(watch_seconds=(1, 1), first_pause=0.02)) as (informer, told):
            await informer.until_synced()
            told.clear()
            there.server.faults.add(Status(500), times=1000, where=is_watch)
            await until(lambda: informer.stale_since is not None)
            assert names(informer) == ["goes", "stays"]
            await cluster.delete(kinds.CONFIG_MAP, "goes", namespace="default")
            await cluster.create(settings("comes"))
            there.cluster.store.compact()
            there.server.faults.due.clear()
            await until(lambda: informer.stale_since is None and len(told) == 2)
            assert (names(informer), sorted(told)) == (["comes", "stays"], ["comes", "goes"])


async def test_an_event_that_says_gone_is_the_same() -> None:
    async with connected() as (there, cluster):
        await cluster.create(settings("a"))
        async with informed(cluster) as (informer, _):
            await informer.until_synced()
            there.cluster.store.compact()
            await cluster.create(settings("b"))
            there.cluster.store.compact()
            await cluster.create(settings("c"))
            await until(lambda: names(informer) == ["a", "b", "c"])
            assert informer.synced


async def test_the_cluster_goes_away_and_comes_back() -> None:
    counting = Counting()
    async with connected(observer=counting) as (there, cluster):
        await cluster.create(settings("a"))
        pace = Pace(watch_seconds=(1, 1), first_pause=0.02, longest_pause=0.05)
        async with informed(cluster, pace=pace) as (informer, told):
            await informer.until_synced()
            faults = (Status(500), Status(429, retry_after=1), Cut(0), Hang(0.05))
            for fault in faults:
                there.server.faults.add(fault, times=2, where=lambda method, _: method in ("WATCH", "GET"))
            await until(lambda: informer.stale_since is not None)
            assert (names(informer), informer.trouble != "") == (["a"], True)
            assert counting.followed["configmaps in default"]() > 0
            await cluster.create(settings("b"))
            await until(lambda: not there.server.faults.due and informer.stale_since is None, 20)
            await until(lambda: names(informer) == ["a", "b"])
            assert (told, informer.trouble) == (["a", "b"], "")


async def test_silence_is_a_dead_connection() -> None:
    watches = 0

    async def script(asked: Asked) -> None:
        nonlocal watches
        if asked.target == "/version":
            return await asked.answer(200, {"major": "1", "minor": "37"})
        watches += 1
        await asked.begin()
        if watches == 1:
            ended = {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}
            await asked.more(json.dumps({"type": "BOOKMARK", "object": {"metadata": ended}}).encode() + b"\n")
        else:
            assert "resourceVersion=7" in asked.target
        await asyncio.sleep(30)
        return None

    pace = Pace(idle_seconds=0.2, first_pause=0.02)
    async with (
        scripted(script) as there,
        client(there.url) as cluster,
        informed(cluster, pace=pace) as (informer, _),
    ):
        await until(lambda: watches >= 3)
        assert informer.synced


@pytest.mark.parametrize(("versions", "ends"), [([10, 5, 5, 12], 12), ([10, 5, 5, 5, 5], 5)])
async def test_a_server_that_lags_is_asked_again_but_believed_in_the_end(
    versions: list[int], ends: int
) -> None:
    lists = iter(versions)
    seen: list[int] = []

    async def script(asked: Asked) -> None:
        if asked.target == "/version":
            return await asked.answer(200, {"major": "1", "minor": "31"})
        if "watch=1" in asked.target and f"resourceVersion={ends}" in asked.target:
            await asked.begin()
            return await asyncio.sleep(30)
        if "watch=1" in asked.target:
            return await asked.answer(410, {"code": 410, "message": "too old"})
        version = next(lists)
        seen.append(version)
        item = {**settings("a"), "data": {"as of": str(version)}}
        item["metadata"]["resourceVersion"] = str(version)
        return await asked.answer(200, {"metadata": {"resourceVersion": str(version)}, "items": [item]})

    async with scripted(script) as there, client(there.url) as cluster, informed(cluster) as (informer, told):
        await until(lambda: seen == versions and informer.stale_since is None)
        found = informer.get("default", "a")
        assert found is not None
        assert found["data"] == {"as of": str(ends)}
        assert told == ["a", "a"]


async def test_late_and_doubled_news_is_no_news() -> None:
    def event(kind: str, name: str, version: int) -> bytes:
        value = settings(name, version=str(version))
        value["metadata"]["resourceVersion"] = str(version)
        return json.dumps({"type": kind, "object": value}).encode() + b"\n"

    ended = {"resourceVersion": "5", "annotations": {"k8s.io/initial-events-end": "true"}}
    lines = [
        event("ADDED", "a", 3),
        json.dumps({"type": "BOOKMARK", "object": {"metadata": ended}}).encode() + b"\n",
        event("MODIFIED", "a", 7),
        event("MODIFIED", "a", 6),
        event("MODIFIED", "a", 7),
        event("ADDED", "b", 8),
        event("DELETED", "b", 10),
        event("MODIFIED", "b", 9),
        event("ADDED", "c", 11),
    ]

    async def script(asked: Asked) -> None:
        if asked.target == "/version":
            return await asked.answer(200, {"major": "1", "minor": "37"})
        await asked.begin()
        whole = b"".join(lines)
        for start in range(0, len(whole), 7):
            await asked.more(whole[start : start + 7])
        await asyncio.sleep(30)
        return None

    async with scripted(script) as there, client(there.url) as cluster, informed(cluster) as (informer, told):
        await until(lambda: "c" in told)
        assert told == ["a", "a", "b", "b", "c"]
        found = informer.get("default", "a")
        assert found is not None
        assert found["data"] == {"version": "7"}
        assert names(informer) == ["a", "c"]


async def test_a_write_of_ours_is_seen_at_once_and_told_once() -> None:
    async with connected() as (_, cluster), informed(cluster) as (informer, told):
        await informer.until_synced()
        informer.put(await cluster.apply(settings("a")))
        assert (names(informer), told) == (["a"], ["a"])
        await cluster.apply(settings("b"))
        await until(lambda: "b" in told)
        assert told == ["a", "b"]


async def test_even_a_mistake_of_ours_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (_, cluster):
        told: list[str] = []

        def changed(namespace: str, name: str) -> None:
            told.append(name)
            if told == ["a"]:
                raise ZeroDivisionError

        async with informed(cluster, changed=changed) as (informer, _told):
            await informer.until_synced()
            await cluster.create(settings("a"))
            await until(lambda: "ZeroDivisionError" in caplog.text)
            await cluster.create(settings("b"))
            await until(lambda: told == ["a", "b"])
            assert names(informer) == ["a", "b"]


async def test_secrets_are_followed_without_what_is_in_them() -> None:
    async with connected() as (_, cluster):
        secret = {"apiVersion": "v1", "kind": "Secret", "data": {"password": "aHVudGVyMg=="}}
        await cluster.create({**secret, "metadata": {"name": "s", "namespace": "default"}})
        informer = Informer(cluster, kinds.SECRET, metadata_only=True, pace=BRISK)
        task = asyncio.create_task(informer.run())
        await informer.until_synced()
        assert [each["metadata"]["name"] for each in informer.items("default")] == ["s"]
        assert "password" not in str(informer.items())
        task.cancel()


async def test_a_kind_that_is_not_served_or_not_allowed_is_waited_for() -> None:
    async with connected() as (there, cluster):
        informer = Informer(cluster, kinds.SCALED_OBJECT, pace=BRISK)
        task = asyncio.create_task(informer.run())
        await until(lambda: "could not find" in informer.trouble)
        there.server.faults.add(Status(403), times=4)
        async with informed(cluster) as (second, _):
            await second.until_synced()
        assert not task.done()
        task.cancel()


async def test_being_in_the_picture_costs_no_requests() -> None:
    async with connected() as (running, cluster), informed(cluster, pace=Pace()) as (informer, _):
        await informer.until_synced()
        before = len(running.server.requests)
        await asyncio.sleep(2)
        assert len(running.server.requests) == before
