"""Owners and their dependents, finalizers, namespaces; and what watchers hear of it all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.cluster.manifests import config, deployment
from tests.support.cluster import schemas, verbs, watching
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.verbs import Cluster, Options
from tests.support.cluster.watching import Asked
from tests.support.patience import PATIENCE

AS_IT_IS = Options(manager="test")


@pytest.fixture
def there() -> Cluster:
    return Cluster(schemas.load("1.37"), clock=lambda: 0.0)


def create(there: Cluster, value: dict[str, Any], namespace: str = "default") -> Any:
    return there.create(there.kind(value["kind"]), namespace, value, AS_IT_IS)


def owned(value: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    reference = {
        "apiVersion": "v1",
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {**value, "metadata": {**value["metadata"], "ownerReferences": [reference]}}


@pytest.mark.parametrize("propagation", ["Foreground", "Background", "Orphan"])
def test_dependents_go_with_their_owner_unless_they_are_orphaned(there: Cluster, propagation: str) -> None:
    anchor = create(there, config("anchor"))
    child = create(there, owned(deployment(), anchor))
    create(there, owned(config("grandchild"), child))
    kind = there.kind("ConfigMap")
    there.delete(kind, ("default", "anchor"), Options(propagation=propagation))
    assert there.store.get(kind, ("default", "anchor")) is None
    stay = propagation == "Orphan"
    assert (there.store.get(there.kind("Deployment"), ("default", "demo-r1")) is not None) is stay
    assert (there.store.get(kind, ("default", "grandchild")) is not None) is stay


def test_a_finalizer_holds_an_object_until_it_is_taken_away(there: Cluster) -> None:
    held = config("held")
    held["metadata"]["finalizers"] = ["example.com/wait"]
    create(there, held)
    kind, name = there.kind("ConfigMap"), ("default", "held")
    assert "deletionTimestamp" in there.delete(kind, name, AS_IT_IS)["metadata"]
    there.patch(kind, name, verbs.MERGE, {"metadata": {"finalizers": None}}, AS_IT_IS)
    assert there.store.get(kind, name) is None


def test_a_namespace_takes_everything_in_it_along(there: Cluster) -> None:
    create(there, {"kind": "Namespace", "metadata": {"name": "team"}}, "")
    create(there, config(), "team")
    there.delete(there.kind("Namespace"), ("", "team"), AS_IT_IS)
    assert there.store.list(there.kind("ConfigMap"), "team") == []
    with pytest.raises(Refusal):
        there.read(there.kind("Namespace"), ("", "team"))


def test_preconditions_protect_what_was_made_anew(there: Cluster) -> None:
    old = create(there, config())["metadata"]["uid"]
    kind, name = there.kind("ConfigMap"), ("default", "settings")
    there.delete(kind, name, AS_IT_IS)
    create(there, config())
    with pytest.raises(Refusal, match="Precondition failed"):
        there.delete(kind, name, Options(preconditions={"uid": old}))


async def heard(there: Cluster, query: dict[str, str], count: int) -> list[tuple[str, str]]:
    kind = there.kind("ConfigMap")
    found = []
    async for event in watching.events(there.store, kind, Asked.of(kind, "default", query)):
        found.append((event["type"], event["object"].get("metadata", {}).get("name", "")))
        if len(found) == count:
            break
    return found


async def test_a_watch_goes_on_from_a_version_and_tells_what_begins_and_ceases_to_fit(there: Cluster) -> None:
    since = str(there.store.version)
    kind, name = there.kind("ConfigMap"), ("default", "settings")
    create(there, config())
    for labels in ({"a": "b"}, {"a": "c"}):
        there.patch(kind, name, verbs.MERGE, {"metadata": {"labels": labels}}, AS_IT_IS)
    there.delete(kind, name, AS_IT_IS)
    every = await heard(there, {"resourceVersion": since}, 4)
    assert [kind for kind, _ in every] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    fitting = await heard(there, {"resourceVersion": since, "labelSelector": "a=b"}, 2)
    assert [kind for kind, _ in fitting] == ["ADDED", "DELETED"]


async def test_initial_events_end_with_a_bookmark_and_news_follow(there: Cluster) -> None:
    create(there, config())
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    task = asyncio.create_task(heard(there, query, 3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    create(there, config("later"))
    assert await asyncio.wait_for(task, PATIENCE) == [
        ("ADDED", "settings"),
        ("BOOKMARK", ""),
        ("ADDED", "later"),
    ]


async def test_a_forgotten_version_is_gone(there: Cluster) -> None:
    since = str(there.store.version)
    create(there, config())
    there.store.compact()
    assert (await heard(there, {"resourceVersion": since}, 1))[0][0] == "ERROR"


async def test_news_out_of_order_is_all_there_and_bookmarks_stay_behind_it() -> None:
    def event(kind: str, uid: str, version: int) -> dict[str, Any]:
        return {"type": kind, "object": {"metadata": {"uid": uid, "resourceVersion": str(version)}}}

    a1, b2, b3, mark, a4, a5, end = (
        event("ADDED", "a", 1), event("ADDED", "b", 2), event("MODIFIED", "b", 3), event("BOOKMARK", "", 3),
        event("MODIFIED", "a", 4), event("DELETED", "a", 5), event("BOOKMARK", "", 5),
    )  # fmt: skip

    async def told(times: int, *events: dict[str, Any]) -> list[dict[str, Any]]:
        async def given() -> AsyncIterator[dict[str, Any]]:
            for each in events:
                yield each

        return [each async for each in watching.muddled(given(), times)]

    assert await told(9, a1, b2, b3, mark, a4, a5, end) == [b2, a1, a1, b3, mark, a4, a5, end]
    assert await told(1, a1, b2, a4, b3) == [b2, a1, a1, a4, b3]
    assert await told(9, a1) == [a1]
    assert await told(9) == []
