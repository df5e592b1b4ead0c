"""Manifests with holes in them: one tree, filled with values here or written as templates of a Helm chart."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from modelyard.domain.errors import Invalid

NAMESPACE = "namespace"
"""The value that Helm takes from its release."""


@dataclass(frozen=True, slots=True)
class Value:
    """A hole: the value of this dotted name, with its own type."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """A string of pieces, some of them holes: `{images.registry}/serving:{images.tag}`."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Base64:
    """The value of this dotted name as Secrets hold it."""

    name: str


@dataclass(frozen=True, slots=True)
class Spread:
    """In a list: every entry of the value of this dotted name, which is a list."""

    name: str


@dataclass(frozen=True, slots=True)
class Given:
    """True when a value is neither empty, nor 0, nor false."""

    name: str


@dataclass(frozen=True, slots=True)
class Equals:
    """True when a value is this text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Other:
    """True when a value, written as text, is another than this one."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Above:
    """True when a value is a larger number."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Not:
    """True when the other is not."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class All:
    """True when every one is."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """True when at least one is."""

    conditions: tuple[Condition, ...]


Condition: TypeAlias = "Given | Equals | Other | Above | Not | All | Some"


@dataclass(frozen=True, slots=True)
class When:
    """A part that is there under a condition only; with `otherwise`, or else another part."""

    condition: Condition
    then: Tree
    otherwise: Tree = None


Scalar: TypeAlias = "str | int | bool | None"
Tree: TypeAlias = "Scalar | Value | Text | Base64 | Spread | When | Mapping[str, Tree] | list[Tree]"
"""None stands for nothing: an entry of a mapping or a list that is not there."""


def filled(tree: Tree, values: Mapping[str, Any]) -> Any:
    """The tree with its holes filled and its conditions decided."""
    match tree:
        case Value(name):
            return look(values, name)
        case Text(pattern):
            return "".join(part if fixed else plain(look(values, part)) for fixed, part in pieces(pattern))
        case Base64(name):
            return base64.b64encode(str(look(values, name)).encode()).decode()
        case When(condition, then, otherwise):
            return filled(then if holds(condition, values) else otherwise, values)
        case Mapping():
            found = {key: filled(each, values) for key, each in tree.items()}
            return {key: each for key, each in found.items() if each is not None}
        case list():
            return [each for entry in tree for each in _entries(entry, values) if each is not None]
        case _:
            return tree


def _entries(entry: Tree, values: Mapping[str, Any]) -> list[Any]:
    """What an entry of a list becomes: one, or as many as a value has."""
    if isinstance(entry, Spread):
        return list(look(values, entry.name))
    return [filled(entry, values)]


def holds(condition: Condition, values: Mapping[str, Any]) -> bool:
    """Whether a condition is true of these values."""
    match condition:
        case Given(name):
            return bool(look(values, name))
        case Equals(name, text):
            return bool(look(values, name) == text)
        case Other(name, text):
            return plain(look(values, name)) != text
        case Above(name, number):
            return int(look(values, name)) > number
        case Not(other):
            return not holds(other, values)
        case All(conditions):
            return all(holds(each, values) for each in conditions)
        case Some(conditions):
            return any(holds(each, values) for each in conditions)


def pieces(pattern: str) -> list[tuple[bool, str]]:
    """A pattern taken apart: fixed text (True) and names of values (False), in turn."""
    found: list[tuple[bool, str]] = []
    for place, part in enumerate(pattern.split("{")):
        name, brace, rest = part.partition("}")
        if place == 0:
            found.append((True, part))
        elif not brace:
            raise ValueError(f"a brace stays open in {pattern!r}")
        else:
            found += [(False, name), (True, rest)]
    return [(fixed, part) for fixed, part in found if part]


def look(values: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name; raises Invalid when there is none."""
    found: Any = values
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise Invalid(f"there is no value `{name}`")
        found = found[part]
    return found


def plain(value: Any) -> str:
    """A value as text, as Helm writes it: `true`, and `3` for 3.0."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return str(value).removesuffix(".0")
        case _:
            return str(value)
