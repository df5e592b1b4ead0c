"""Objects, their versions, and who watches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from tests.support.cluster import trees
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.schemas import Resource

Object = dict[str, Any]
Name = tuple[str, str]
"""Namespace (empty for what has none) and name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history."""

    version: int
    type: str
    """`ADDED`, `MODIFIED` or `DELETED`."""
    resource: Resource
    object: Object
    before: Object | None = None


@dataclass(slots=True)
class Store:
    """What etcd keeps."""

    clock: Callable[[], float]
    objects: dict[Resource, dict[Name, Object]] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    version: int = 1000
    oldest: int = 0
    """Watches from before this version are answered 410."""
    services: str = "10.96"
    """What the addresses of services begin with."""
    _uids: Iterator[int] = field(default_factory=lambda: count(1))
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> str:
        """The time as the API writes it."""
        return datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def get(self, resource: Resource, name: Name) -> Object | None:
        """The object itself; callers must not change it."""
        return self.objects.get(resource, {}).get(name)

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        """All of a kind, in one namespace or in all, by name."""
        found = self.objects.get(resource, {})
        return [o for (ns, _), o in sorted(found.items()) if namespace in ("", ns)]

    def uid(self) -> str:
        """A new identity."""
        number = next(self._uids)
        return f"00000000-0000-4000-8000-{number:012d}"

    def put(self, resource: Resource, new: Object) -> Object:
        """Store an object under a new version; the same object as before is no change."""
        name = (new["metadata"].get("namespace", ""), new["metadata"]["name"])
        before = self.get(resource, name)
        if before is not None and _same(before, new):
            return before
        self.version += 1
        new = trees.copied(new)
        new["metadata"]["resourceVersion"] = str(self.version)
        self.objects.setdefault(resource, {})[name] = new
        self._tell(Change(self.version, "MODIFIED" if before else "ADDED", resource, new, before))
        return new

    def remove(self, resource: Resource, name: Name) -> Object:
        """Forget an object."""
        before = self.objects[resource].pop(name)
        self.version += 1
        last = trees.copied(before)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Change(self.version, "DELETED", resource, last, before))
        return last

    def compact(self) -> None:
        """Forget the history, as etcd does every five minutes."""
        self.oldest = self.version
        self.history.clear()

    async def changes(self, since: int) -> AsyncIterator[Change]:
        """What happens after a version, for ever; raises Refusal 410 when that is forgotten."""
        if since < self.oldest:
            raise Refusal(410, f"too old resource version: {since} ({self.oldest})")
        while True:
            news = self._news
            for change in [c for c in self.history if c.version > since]:
                since = change.version
                yield change
            if since < self.oldest:
                raise Refusal(410, f"too old resource version: {since} ({self.oldest})")
            await news.wait()

    def _tell(self, change: Change) -> None:
        self.history.append(change)
        self._news.set()
        self._news = asyncio.Event()


def matches(labels: Mapping[str, str], selector: str) -> bool:
    """Whether labels fit `a=b,c!=d,e in (f,g),h,!i`."""
    return all(_fits(labels, part.strip()) for part in _split(selector) if part.strip())


def fields_match(value: Mapping[str, Any], selector: str) -> bool:
    """Whether fields fit `metadata.name=x,spec.nodeName!=y`."""
    for part in filter(None, selector.split(",")):
        name, operator, wanted = _operator(part)
        found: Any = value
        for key in name.split("."):
            found = found.get(key, "") if isinstance(found, Mapping) else ""
        if (str(found) == wanted) is (operator == "!="):
            return False
    return True


def selected(labels: Mapping[str, str], selector: Mapping[str, Any]) -> bool:
    """Whether labels fit a `LabelSelector`."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(expression_fits(labels, each) for each in selector.get("matchExpressions") or ())


def expression_fits(labels: Mapping[str, str], each: Mapping[str, Any]) -> bool:
    """Whether labels fit one expression of a `LabelSelector` or of a node's affinity."""
    value, values = labels.get(each["key"]), each.get("values") or ()
    match each["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case "Lt":
            return value is not None and int(value) < int(values[0])
        case _:
            return value is None


def _split(selector: str) -> Sequence[str]:
    parts, depth, part = [], 0, ""
    for character in selector:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    return [*parts, part]


def _fits(labels: Mapping[str, str], part: str) -> bool:
    for word, inside in ((" notin ", False), (" in ", True)):
        if word in part:
            key, _, values = part.partition(word)
            wanted = [v.strip() for v in values.strip(" ()").split(",")]
            return (labels.get(key.strip()) in wanted) is inside
    if "=" in part:
        key, operator, value = _operator(part)
        return (labels.get(key) == value) is (operator != "!=")
    if part.startswith("!"):
        return part[1:] not in labels
    return part in labels


def _operator(part: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        if operator in part:
            key, _, value = part.partition(operator)
            return key.strip(), operator, value.strip()
    raise Refusal(400, f"unable to parse requirement: {part}")


def _same(before: Object, new: Object) -> bool:
    return _content(before) == _content(new)


def _content(value: Object) -> Object:
    rest = {k: v for k, v in value.items() if k != "metadata"}
    meta = {k: v for k, v in value["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    owners = [{k: v for k, v in e.items() if k != "time"} for e in value["metadata"].get("managedFields", ())]
    return {**rest, "metadata": meta, "owners": owners}
