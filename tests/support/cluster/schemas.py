"""What the published OpenAPI of a Kubernetes version says of each kind."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

Node = Mapping[str, Any]
"""A schema; `{}` allows anything."""

VERSIONS = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
ANYTHING: Node = {}
_UNSTRUCTURED = frozenset({"FieldsV1", "RawExtension", "JSON"})


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API serves it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    scale: bool = False
    """Whether it has a `scale` subresource."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """Such as `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


@dataclass(frozen=True, slots=True)
class Schemas:
    """All kinds of one version; kinds of custom resources are added to the built-in ones."""

    version: str
    definitions: Mapping[str, Node] = field(repr=False)
    kinds: Mapping[tuple[str, str, str], Node] = field(repr=False)

    def of(self, resource: Resource) -> Node:
        """The schema of a kind; KeyError when this version does not have it."""
        return self.kinds[resource.group, resource.version, resource.kind]

    def has(self, resource: Resource) -> bool:
        """Whether this version has the kind."""
        return (resource.group, resource.version, resource.kind) in self.kinds

    def resolved(self, node: Node) -> Node:
        """The schema itself where it only refers to one."""
        reference = node.get("$ref")
        if reference is None:
            return node
        name = str(reference).rpartition("/")[2]
        return ANYTHING if name.rpartition(".")[2] in _UNSTRUCTURED else self.definitions[name]

    def child(self, node: Node, key: str) -> Node | None:
        """The schema of a field of an object; None when there is no such field."""
        node = self.resolved(node)
        if key in node.get("properties", {}):
            found = node["properties"][key]
            return {**self.resolved(found), **_lists(found)}
        more = node.get("additionalProperties")
        if isinstance(more, Mapping):
            return self.resolved(more)
        return None if node.get("properties") or more is False else ANYTHING

    def items(self, node: Node) -> Node:
        """The schema of a list's items."""
        return self.resolved(node.get("items", ANYTHING))


@functools.cache
def load(version: str, extra: tuple[tuple[Resource, str], ...] = ()) -> Schemas:
    """The schemas of `1.37` and the like; `extra` are custom resources with their schema as JSON text."""
    place = files("kubernetes_validate") / f"kubernetes-json-schema/v{version}.0-local/_definitions.json"
    definitions = json.loads(place.read_text())["$defs"]
    kinds = {
        (gvk["group"], gvk["version"], gvk["kind"]): node
        for node in definitions.values()
        for gvk in node.get("x-kubernetes-group-version-kind", ())
    }
    kinds |= {(r.group, r.version, r.kind): json.loads(text) for r, text in extra}
    return Schemas(version, definitions, kinds)


def list_type(node: Node) -> tuple[str, tuple[str, ...]]:
    """How a list is merged: `atomic`, `set`, or `map` with its keys."""
    kind = node.get("x-kubernetes-list-type")
    if kind == "map":
        return "map", tuple(node["x-kubernetes-list-map-keys"])
    if kind is None and "x-kubernetes-patch-merge-key" in node:
        return "map", (node["x-kubernetes-patch-merge-key"],)
    return (kind or "atomic"), ()


def is_atomic(node: Node) -> bool:
    """Whether an object is owned and replaced only as a whole."""
    if node.get("x-kubernetes-map-type") == "atomic":
        return True
    return not node.get("properties") and not isinstance(node.get("additionalProperties"), Mapping)


def _lists(node: Node) -> dict[str, Any]:
    """What a field says of its list beside the reference to its type."""
    return {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
