"""A cluster as the test cluster's own components know it, in front of a real API server.

Kubelets, proxies and gateways of the tests read and write a `verbs.Cluster` of their own process. This is one
whose objects are copies of what an API server has, and whose writes are sent there; so they work in a real
cluster as they are. A write is seen here at once, and sent in the order in which writes of its object came.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.cluster import merging
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Name, Object, Store
from tests.support.cluster.verbs import Options

_WRITERS = 8
_PAUSE_SECONDS = 0.2
_WATCH_SECONDS = 300
_LATER = (409, 404)
"""Answers to writes about what has gone or come meanwhile."""


@dataclass(frozen=True, slots=True)
class _Write:
    resource: Resource
    name: Name
    method: str
    path: str
    query: dict[str, str]
    body: Any
    media: str = "application/json"


@dataclass(slots=True)
class Mirror:
    """One API server; `resources` are the kinds that are copied."""

    url: str
    trust: ssl.SSLContext
    resources: tuple[Resource, ...]
    clock: Callable[[], float]
    store: Store = field(init=False)
    garbage: Ending = field(init=False)
    refused: list[str] = field(default_factory=list)
    """What the API server did not want to have written."""
    _queues: list[asyncio.Queue[_Write]] = field(init=False)
    _known: set[Resource] = field(default_factory=set)
    _gone: set[str] = field(default_factory=set)
    """Identities of what was deleted: an answer to a write from before does not bring it back."""

    def __post_init__(self) -> None:
        self.store = Store(self.clock)
        self.garbage = Ending(self)
        self._queues = [asyncio.Queue() for _ in range(_WRITERS)]

    def kind(self, kind: str) -> Resource:
        """The resource of a kind; StopIteration when there is none."""
        return next(r for r in self.resources if r.kind == kind)

    async def synced(self) -> None:
        """Wait until everything was read once."""
        while self._known != set(self.resources):
            await asyncio.sleep(0.02)

    async def run(self) -> None:
        """Follow and write until cancelled."""
        limits = httpx2.Limits(max_connections=None)
        async with (
            httpx2.AsyncClient(
                base_url=self.url, verify=self.trust, trust_env=False, timeout=10.0, limits=limits
            ) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for resource in self.resources:
                tasks.create_task(self._follow(client, resource))
            for queue in self._queues:
                tasks.create_task(self._send(client, queue))

    def create(self, resource: Resource, namespace: str, value: Object, options: Options) -> Object:
        """A new object, which gets its identity from the API server later."""
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        metadata = {**value["metadata"], **({"namespace": namespace} if resource.namespaced else {})}
        body = {**value, **head, "metadata": metadata}
        name = (namespace if resource.namespaced else "", str(metadata["name"]))
        self._later(_Write(resource, name, "POST", _path(resource, namespace), _query(options), body))
        return body

    def patch(self, resource: Resource, name: Name, kind: str, patch: Any, options: Options) -> Object:
        """PATCH by merging, of the object or of its status."""
        there = self.store.get(resource, name) or {}
        changed: Object = merging.merge_patch(there, patch)
        self.store.objects.setdefault(resource, {})[name] = changed
        path = f"{_path(resource, *name)}{'/' if options.subresource else ''}{options.subresource}"
        self._later(_Write(resource, name, "PATCH", path, _query(options), patch, kind))
        return changed

    def delete(self, resource: Resource, name: Name, options: Options) -> Object:
        """Delete an object; None of its grace is taken from it."""
        body = {"propagationPolicy": options.propagation}
        if options.grace_seconds is not None:
            body |= {"gracePeriodSeconds": options.grace_seconds}  # type: ignore[dict-item]
        if options.preconditions:
            body |= {"preconditions": dict(options.preconditions)}  # type: ignore[dict-item]
        self._later(_Write(resource, name, "DELETE", _path(resource, *name), {}, body))
        return self.store.get(resource, name) or {}

    def _later(self, write: _Write) -> None:
        number = zlib.crc32(repr((write.resource.kind, write.name)).encode()) % _WRITERS
        self._queues[number].put_nowait(write)

    async def _send(self, client: httpx2.AsyncClient, queue: asyncio.Queue[_Write]) -> None:
        while True:
            write = await queue.get()
            while not await self._sent(client, write):
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _sent(self, client: httpx2.AsyncClient, write: _Write) -> bool:
        """Send one write; False to send it again."""
        try:
            answer = await client.request(
                write.method,
                write.path,
                params=write.query,
                content=json.dumps(write.body),
                headers={"content-type": write.media},
            )
        except httpx2.TransportError:
            return False
        if answer.status_code == 429 or answer.status_code >= 500:
            return False
        if answer.is_success and write.method != "DELETE":
            self._put(write.resource, answer.json())
        elif not answer.is_success and answer.status_code not in _LATER:
            said = f"{write.method} {write.path}: {answer.status_code} {answer.text[:500]}"
            self.refused.append(said)
            print(said, file=sys.stderr, flush=True)
        return True

    async def _follow(self, client: httpx2.AsyncClient, resource: Resource) -> None:
        while True:
            try:
                version = await self._list(client, resource)
                self._known.add(resource)
                while version:
                    version = await self._watch(client, resource, version)
            except (httpx2.HTTPError, ValueError):
                pass  # it comes back, or the test ends
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _list(self, client: httpx2.AsyncClient, resource: Resource) -> str:
        answer = await client.get(_path(resource))
        answer.raise_for_status()
        found = answer.json()
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        listed = {_name(each): {**head, **each} for each in found["items"]}
        self.store.objects[resource] = listed
        return str(found["metadata"]["resourceVersion"])

    async def _watch(self, client: httpx2.AsyncClient, resource: Resource, version: str) -> str:
        """Follow for a while; the version to go on from, empty when everything is to be read again."""
        query = {
            "watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }  # fmt: skip
        patience = httpx2.Timeout(10.0, read=_WATCH_SECONDS + 10.0)
        async with client.stream("GET", _path(resource), params=query, timeout=patience) as answer:
            if not answer.is_success:
                return ""
            async for line in answer.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return ""
                version = event["object"]["metadata"]["resourceVersion"]
                self._see(resource, event["type"], event["object"])
        return version

    def _see(self, resource: Resource, kind: str, value: Object) -> None:
        if kind == "DELETED":
            self._gone.add(_uid(value))
            self.store.objects.get(resource, {}).pop(_name(value), None)
        elif kind != "BOOKMARK":
            self._put(resource, value)

    def _put(self, resource: Resource, value: Object) -> None:
        known = self.store.get(resource, _name(value))
        if _uid(value) in self._gone:
            return
        if known is None or _version(known) <= _version(value) or _uid(known) != _uid(value):
            self.store.objects.setdefault(resource, {})[_name(value)] = value


@dataclass(frozen=True, slots=True)
class Ending:
    """What is done when nothing of a pod runs any more."""

    mirror: Mirror

    def finished(self, resource: Resource, name: Name) -> None:
        """The object may go at once."""
        value = self.mirror.store.objects.get(resource, {}).pop(name, None)
        if value is not None:
            options = Options(grace_seconds=0, preconditions={"uid": _uid(value)})
            self.mirror.delete(resource, name, options)


def _path(resource: Resource, namespace: str = "", name: str = "") -> str:
    words = [resource.prefix]
    if resource.namespaced and namespace:
        words += ["namespaces", namespace]
    return "/".join([*words, resource.plural, *([name] if name else [])])


def _query(options: Options) -> dict[str, str]:
    return {"fieldManager": options.manager}


def _name(value: Object) -> Name:
    return (value["metadata"].get("namespace", ""), value["metadata"]["name"])


def _uid(value: Object) -> str:
    return str(value["metadata"].get("uid", ""))


def _version(value: Object) -> int:
    return int(value["metadata"].get("resourceVersion") or 0)


def copied(resources: Iterable[Resource], *kinds: str) -> tuple[Resource, ...]:
    """Those of these kinds."""
    return tuple(each for each in resources if each.kind in kinds)
