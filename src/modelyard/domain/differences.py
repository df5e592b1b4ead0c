"""What is different between two specs, field by field, for the history and for plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.deployment import DeploymentSpec, Resources
from modelyard.domain.placement import Request

_BARE = frozenset({"resources"})
"""Groups whose fields are known well enough by their own names."""
_UNTOLD = frozenset({"config", "mounts", "health.readiness", "health.liveness", "server.command"})
"""Fields that are too long for a line, or may hold secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field, before and after; secrets are told only as `added`, `removed` or `changed`."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    field: str
    before: str = ""
    after: str = ""
    note: str = ""
    """`added`, `removed` or `changed`, in place of values that may be secrets."""

    def __str__(self) -> str:
        if self.note:
            return f"{self.field} {self.note}"
        return f"{self.field} {self.before or 'none'} → {self.after or 'none'}"


def differences(before: DeploymentSpec, after: DeploymentSpec) -> Iterator[Change]:
    """The fields that differ, in the order of the spec; amounts written in another way are equal."""
    yield from _of(before, after, "")


def same(old: Any, new: Any) -> bool:
    """Equal, also when amounts are written in another way."""
    if isinstance(old, Resources) and isinstance(new, Resources):
        return Request.of(old) == Request.of(new)
    return bool(old == new)


def _of(old: Any, new: Any, prefix: str) -> Iterator[Change]:
    for f in fields(old):
        was, would = getattr(old, f.name), getattr(new, f.name)
        if same(was, would):
            continue
        name = f"{prefix}{f.name}"
        if isinstance(was, Mapping) and isinstance(would, Mapping):
            yield from _keys(name, was, would)
        elif name in _UNTOLD:
            yield Change(field=name, note="changed" if was and would else "added" if would else "removed")
        elif is_dataclass(was) and type(was) is type(would):
            yield from _of(was, would, "" if name in _BARE else f"{name}.")
        else:
            yield Change(field=name, before=_shown(was), after=_shown(would))


def _keys(field: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            yield Change(field=f"{field}.{key}", note="added")
        elif key not in new:
            yield Change(field=f"{field}.{key}", note="removed")
        elif old[key] != new[key]:
            yield Change(field=f"{field}.{key}", note="changed")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(_shown(each) for each in value)
    return "" if value is None else str(value)
