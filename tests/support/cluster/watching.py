"""Watches: what happens after a version, initial events, bookmarks, time-outs, selectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

from tests.support.cluster.refusals import Refusal
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Change, Object, Store, fields_match, matches

_BOOKMARK_SECONDS = 5.0
_NEWS = ("ADDED", "MODIFIED", "DELETED")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a watch is about."""

    namespace: str
    labels: str
    fields: str
    version: int | None
    """From after which version; None is from now with what there is."""
    initial: bool
    """Whether what there is comes first, ended by a bookmark."""
    bookmarks: bool
    seconds: float

    @classmethod
    def of(cls, resource: Resource, namespace: str, query: Mapping[str, str]) -> Asked:
        """Out of a query; raises Refusal 422 for options that exclude one another."""
        initial = query.get("sendInitialEvents") == "true"
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            said = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch"
            raise Refusal(422, f'ListOptions.meta.k8s.io "" is invalid: {said} to NotOlderThan')
        version = query.get("resourceVersion", "")
        return cls(
            namespace,
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
            None if version in ("", "0") or initial else int(version),
            initial,
            query.get("allowWatchBookmarks") in ("1", "true"),
            float(query.get("timeoutSeconds") or 3600),
        )

    def fits(self, value: Object | None) -> bool:
        """Whether an object is one of those that are watched."""
        if value is None or self.namespace not in ("", value["metadata"].get("namespace", "")):
            return False
        labels = value["metadata"].get("labels") or {}
        return matches(labels, self.labels) and fields_match(value, self.fields)


async def events(store: Store, resource: Resource, asked: Asked) -> AsyncIterator[Object]:
    """The events of one watch until its time is up; a version that is forgotten is told as an ERROR."""
    loop = asyncio.get_running_loop()
    end = loop.time() + asked.seconds
    since = store.version if asked.version is None else asked.version
    for each in _initial(store, resource, asked, since):
        yield each
    changes = store.changes(since)
    told = loop.time()
    pending: asyncio.Task[Change] | None = None
    try:
        while (left := end - loop.time()) > 0:
            pending = pending or asyncio.ensure_future(anext(changes))
            done, _ = await asyncio.wait({pending}, timeout=min(left, _BOOKMARK_SECONDS))
            event: Object | None = None
            if done:
                change, pending = pending.result(), None
                since, event = change.version, _event(change, resource, asked)
            # Also while much happens that this watch is not about.
            if event is None and asked.bookmarks and loop.time() - told >= _BOOKMARK_SECONDS:
                event = _bookmark(resource, since)
            if event is not None:
                told = loop.time()
                yield event
    except Refusal as refusal:
        yield {"type": "ERROR", "object": refusal.status}
    finally:
        if pending is not None:
            pending.cancel()


async def muddled(events: AsyncIterator[Object], times: int) -> AsyncIterator[Object]:
    """The same news out of order: one is held back until that of another object was told, and is told twice.

    Both come at once, so that who goes on from the newest version that it was told has missed nothing; and
    a bookmark never comes before what it stands for.
    """
    held: Object | None = None
    async for event in events:
        if held is None and times > 0 and event["type"] in _NEWS:
            held = event
            continue
        if held is None:
            yield event
            continue
        apart = event["type"] in _NEWS and _uid(event) != _uid(held)
        for each in (event, held, held) if apart else (held, event):
            yield each
        held, times = None, times - 1
    if held is not None:
        yield held


def _uid(event: Object) -> str:
    return str(event["object"]["metadata"].get("uid", ""))


def _initial(store: Store, resource: Resource, asked: Asked, version: int) -> Iterator[Object]:
    """What there is already, for a watch that does not go on from a version."""
    if asked.version is not None:
        return
    for each in store.list(resource, asked.namespace):
        if asked.fits(each):
            yield {"type": "ADDED", "object": each}
    if asked.initial:
        yield _bookmark(resource, version, initial_end=True)


def as_of(store: Store, resource: Resource, namespace: str, version: int) -> list[Object]:
    """The objects as they were at an earlier version, as far as the history goes back."""
    found = {
        (o["metadata"].get("namespace", ""), o["metadata"]["name"]): o
        for o in store.list(resource, namespace)
    }
    for change in reversed(store.history):
        if change.version <= version:
            break
        name = (change.object["metadata"].get("namespace", ""), change.object["metadata"]["name"])
        if change.resource != resource or namespace not in ("", name[0]):
            continue
        if change.before is None:
            found.pop(name, None)
        else:
            found[name] = change.before
    return [o for _, o in sorted(found.items())]


def _event(change: Change, resource: Resource, asked: Asked) -> Object | None:
    """What the watcher hears: an object that begins to fit is new, one that fits no more is gone."""
    if change.resource != resource:
        return None
    now, before = asked.fits(change.object), asked.fits(change.before)
    if change.type == "DELETED":
        return {"type": "DELETED", "object": change.object} if before else None
    if now:
        return {"type": "MODIFIED" if before else "ADDED", "object": change.object}
    return {"type": "DELETED", "object": change.object} if before else None


def _bookmark(resource: Resource, version: int, *, initial_end: bool = False) -> Object:
    metadata: Object = {"resourceVersion": str(version)}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    value = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return {"type": "BOOKMARK", "object": value}
