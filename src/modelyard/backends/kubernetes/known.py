"""What is known of a kind's objects: news goes in, what changed comes out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from modelyard.backends.kubernetes.kinds import Manifest, place

Name = tuple[str, str]
"""Namespace (empty for what has none) and name."""

_MOST_GRAVES = 1000
_METADATA = ("apiVersion", "kind", "metadata")


@dataclass(slots=True)
class Known:
    """Objects by name, each as of its newest news, whatever the order in which news comes, or how often.

    Who owns which field is not kept: it is a third of an object, and nobody asks it of many.
    """

    metadata_only: bool = False
    objects: dict[Name, Manifest] = field(default_factory=dict)
    version: str = ""
    """As of when this is, to go on from; empty before anything is known."""
    _graves: dict[Name, int] = field(default_factory=dict)
    """Which versions of what went lately, against late news of it."""

    def put(self, new: Manifest) -> bool:
        """An object came or changed; whether that is news."""
        self.saw(new["metadata"].get("resourceVersion"))
        return self._take(new)

    def learn(self, new: Manifest) -> bool:
        """The same from elsewhere than the watch, which has not told all that was before it.

        What the watch knows nothing of, though it told all up to that version and more, is gone by now.
        """
        if place(new) not in self.objects and not _newer(_version(new), _number(self.version)):
            return False
        return self._take(new)

    def _take(self, new: Manifest) -> bool:
        name, version = place(new), _version(new)
        before = self.objects.get(name)
        if before is not None and not _newer(version, _version(before)):
            return False
        if before is None and not _newer(version, self._graves.get(name)):
            return False
        self.objects[name] = self._kept(new)
        self._graves.pop(name, None)
        return True

    def remove(self, gone: Manifest) -> bool:
        """An object went; whether that is news."""
        name, version = place(gone), _version(gone)
        self.saw(gone["metadata"].get("resourceVersion"))
        before = self.objects.get(name)
        if before is not None and _older(version, _version(before)):
            return False
        if version is not None:
            self._bury(name, max(version, self._graves.get(name, 0)))
        return self.objects.pop(name, None) is not None

    def saw(self, version: str | None) -> None:
        """Everything up to this version has come."""
        if version and _newer(_number(version), _number(self.version)):
            self.version = version

    def reset(self, items: Iterable[Manifest], version: str) -> set[Name]:
        """Everything that there is as of a version; whatever else was known is gone. Returns what is news."""
        found = {place(each): each for each in items}
        news = {name for name in self.objects if name not in found}
        for name, each in found.items():
            before = self.objects.get(name)
            if before is None or _identity(before) != _identity(each):
                news.add(name)
        self.objects = {name: self._kept(each) for name, each in found.items()}
        self.version = version
        self._graves.clear()
        return news

    def is_behind(self, version: str) -> bool:
        """Whether a version is older than what is known, as from a server that lags."""
        return _older(_number(version), _number(self.version))

    def _kept(self, value: Manifest) -> Manifest:
        metadata = {key: each for key, each in value["metadata"].items() if key != "managedFields"}
        rest = {key: value[key] for key in _METADATA if key in value} if self.metadata_only else value
        return {**rest, "metadata": metadata}

    def _bury(self, name: Name, version: int) -> None:
        self._graves.pop(name, None)
        self._graves[name] = version
        if len(self._graves) > _MOST_GRAVES:
            del self._graves[next(iter(self._graves))]


def _version(value: Manifest) -> int | None:
    return _number(value["metadata"].get("resourceVersion"))


def _identity(value: Manifest) -> tuple[str, str]:
    metadata = value["metadata"]
    return str(metadata.get("uid") or ""), str(metadata.get("resourceVersion") or "")


def _number(version: str | None) -> int | None:
    """Versions are numbers that grow (KEP-5504); of others only the order in which they come is known."""
    return int(version) if version and version.isdigit() else None


def _newer(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one > other


def _older(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one < other
