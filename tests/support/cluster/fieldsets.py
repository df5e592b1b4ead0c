"""Which fields an object sets, as paths, and the form in which `managedFields` shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.support.cluster.schemas import Node, Schemas, is_atomic, list_type

Element = str
"""`f:name` of a field, `k:{"name":"a"}` of an item of a keyed list, `v:"x"` of a member of a set."""
Path = tuple[Element, ...]
FieldSet = frozenset[Path]

_NEVER_OWNED = frozenset({("f:apiVersion",), ("f:kind",)})
_OF_THE_SERVER = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
     "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generateName"}
)  # fmt: skip


def of(schemas: Schemas, node: Node, value: Any) -> FieldSet:
    """The fields that an object sets and that somebody can own."""
    found = frozenset(_paths(schemas, schemas.resolved(node), value, ()))
    return frozenset(p for p in found - _NEVER_OWNED if not _is_the_servers(p))


def _is_the_servers(path: Path) -> bool:
    return path[0] == "f:metadata" and len(path) > 1 and path[1][2:] in _OF_THE_SERVER


def _paths(schemas: Schemas, node: Node, value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, Mapping) and value and not is_atomic(node):
        for key, each in value.items():
            yield from _paths(schemas, schemas.child(node, key) or {}, each, (*path, f"f:{key}"))
    elif isinstance(value, list) and value and list_type(node)[0] != "atomic":
        kind, keys = list_type(node)
        for each in value:
            inside = (*path, element(kind, keys, each))
            yield inside
            if kind == "map":
                yield from _paths(schemas, schemas.items(node), each, inside)
    elif path:
        yield path


def element(kind: str, keys: tuple[str, ...], item: Any) -> Element:
    """How an item of a list is named in a path."""
    if kind == "set":
        return f"v:{json.dumps(item, separators=(',', ':'))}"
    named = {key: item.get(key, _DEFAULTS.get(key)) for key in keys}
    return f"k:{json.dumps(named, separators=(',', ':'), sort_keys=True)}"


_DEFAULTS = {"protocol": "TCP"}
"""Keys that may be left out."""


def tree(paths: Iterable[Path]) -> dict[str, Any]:
    """As `fieldsV1` shows them."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        at = root
        for each in path:
            at = at.setdefault(each, {})
        if path[-1].startswith("k:"):
            at.setdefault(".", {})
    return root


def parse(fields: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    """The paths that a `fieldsV1` stands for."""
    for key, inside in fields.items():
        if key == ".":
            yield path
        elif inside:
            yield from parse(inside, (*path, key))
        else:
            yield (*path, key)


def dotted(path: Path) -> str:
    """As errors name it: `.spec.template.spec.containers[name="a"].image`."""
    said = ""
    for each in path:
        if each.startswith("f:"):
            said += f".{each[2:]}"
        elif each.startswith("v:"):
            said += f"[{each[2:]}]"
        else:
            keys = json.loads(each[2:])
            said += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in keys.items()) + "]"
    return said
