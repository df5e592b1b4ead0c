"""All models of a front, found by the name and version that clients use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from modelyard.serving.errors import Problem, not_found
from modelyard.serving.hosted import HostedModel

ALIAS = b"x-modelyard-alias"
"""Header in which the gateway says as which services it may be asked, with commas, beside this one."""

_SERVICE = re.compile(r"[a-z0-9-]{1,63}(@[a-z]{1,20})?")
_MOST_ALIASES = 64


class Catalog:
    """The models of one front; the first is what requests without a model's name mean."""

    def __init__(self, models: Sequence[HostedModel]) -> None:
        self.models = tuple(models)
        self._named: dict[str, list[HostedModel]] = {}
        for hosted in self.models:
            for name in hosted.config.names:
                self._named.setdefault(name, []).append(hosted)
        self._own = frozenset(self._named)

    @property
    def default(self) -> HostedModel:
        """What requests without a model's name mean."""
        return self.models[0]

    def names(self) -> Iterator[str]:
        """Every name that requests may use."""
        return iter(self._named)

    def learn(self, alias: str) -> bool:
        """Let the default model answer as another service too; says whether that is new."""
        if not _SERVICE.fullmatch(alias) or len(self._named) >= len(self._own) + _MOST_ALIASES:
            return False
        new = {alias, alias.partition("@")[0]} - self._named.keys()
        self._named.update({name: self._named[self.default.config.names[0]] for name in new})
        return bool(new)

    def versions(self, name: str) -> Sequence[HostedModel]:
        """Every version of a model, the default one first; empty for an unknown name."""
        return self._named.get(name, ())

    def find(self, name: str, version: str = "") -> HostedModel:
        """The model of a name, in its default version if none is given; raises Problem 404."""
        versions = self._named.get(name)
        if not versions:
            raise self._unknown(name)
        for hosted in versions:
            if not version or hosted.config.version == version:
                return hosted
        raise self._no_version(name, version)

    def nothing_at(self, path: str) -> Problem:
        """Why there is nothing at a path: the model, its version or the rest is unknown."""
        rest = path.removeprefix("/v2/repository").removeprefix("/v2").removeprefix("/models/")
        if not path.startswith("/v2") or rest.startswith("/") or not rest:
            return not_found(f"there is nothing at {_short(path)}")
        for name in sorted(self._named, key=len, reverse=True):
            if rest.startswith(f"{name}/versions/"):
                version = rest.removeprefix(f"{name}/versions/").partition("/")[0]
                if all(hosted.config.version != version for hosted in self._named[name]):
                    return self._no_version(name, version)
            if rest == name or rest.startswith(f"{name}/"):
                return not_found(f"there is nothing at {_short(path)}")
        return self._unknown(rest.partition("/")[0])

    def _no_version(self, name: str, version: str) -> Problem:
        known = [f'"{hosted.config.version}"' for hosted in self._named[name] if hosted.config.version]
        has = f"this replica serves version {' and '.join(known)}" if known else "it has none"
        return not_found(f'model "{_short(name)}" has no version "{_short(version)}" here; {has}')

    def _unknown(self, name: str) -> Problem:
        known = " and ".join(f'"{name}"' for name in dict.fromkeys(m.config.name for m in self.models[:10]))
        return not_found(f'unknown model "{_short(name)}"; this replica serves {known}')


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "…"
