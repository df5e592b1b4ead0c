"""Strict validation against a schema, in the words of the real server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.cluster import fieldsets
from tests.support.cluster.schemas import Node, Resource, Schemas, list_type

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def unknown_fields(schemas: Schemas, node: Node, value: Any, path: str = "") -> Iterator[str]:
    """`unknown field "spec.replcas"`, one for each."""
    node = schemas.resolved(node)
    if isinstance(value, Mapping):
        for key, each in value.items():
            child = schemas.child(node, key)
            where = f"{path}.{key}" if path else key
            if child is None:
                yield f'unknown field "{where}"'
            else:
                yield from unknown_fields(schemas, child, each, where)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from unknown_fields(schemas, schemas.items(node), each, f"{path}[{index}]")


def untyped(schemas: Schemas, resource: Resource, value: Mapping[str, Any]) -> str:
    """Why an object is no applied configuration of its kind; empty when it is one."""
    node = schemas.of(resource)
    unknown = next(unknown_fields(schemas, node, value), "")
    field = unknown.removeprefix('unknown field "').removesuffix('"')
    wrong = [f".{field}: field not declared in schema"] if unknown else [*_doubled(schemas, node, value, "")]
    if not wrong:
        return ""
    metadata = value["metadata"]
    place = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    kind = f"{resource.group}/{resource.version}, Kind={resource.kind}"
    where = f"failed to create typed patch object ({place}; {kind})"
    return f"{where}: {wrong[0] if len(wrong) == 1 else _listed(wrong)}"


def _listed(wrong: list[str]) -> str:
    return "errors:\n" + "".join(f"  {each}\n" for each in wrong)


def _doubled(schemas: Schemas, node: Node, value: Any, path: str) -> Iterator[str]:
    """Items of keyed lists and of sets that occur twice: an apply may not have any."""
    node = schemas.resolved(node)
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _doubled(schemas, schemas.child(node, key) or {}, each, f"{path}.{key}")
    elif isinstance(value, list):
        kind, keys = list_type(node)
        seen: set[str] = set()
        for index, each in enumerate(value):
            name = f"[{index}]"
            if kind != "atomic":
                name = fieldsets.dotted((element := fieldsets.element(kind, keys, each),))
                if element in seen:
                    yield f"{path}: duplicate entries for key {name}"
                seen.add(element)
            yield from _doubled(schemas, schemas.items(node), each, path + name)


def invalid_values(schemas: Schemas, node: Node, value: Any, path: str = "") -> Iterator[str]:
    """Wrong types, missing required fields, keys that occur twice in a keyed list."""
    node = schemas.resolved(node)
    if value is None:
        return
    if not _fits(node, value):
        yield f"{path or '<root>'}: Invalid value: {value!r}: must be of type {_named(node)}"
        return
    if "enum" in node and value not in node["enum"]:
        yield f"{path}: Unsupported value: {value!r}: supported values: {node['enum']}"
    yield from _out_of_bounds(node, value, path)
    if isinstance(value, Mapping):
        yield from _invalid_fields(schemas, node, value, path)
    elif isinstance(value, list):
        yield from _repeated(node, value, path)
        for index, each in enumerate(value):
            yield from invalid_values(schemas, schemas.items(node), each, f"{path}[{index}]")


def _out_of_bounds(node: Node, value: Any, path: str) -> Iterator[str]:
    if "minimum" in node and isinstance(value, int) and value < node["minimum"]:
        said = f"{path} in body should be greater than or equal to {node['minimum']}"
        yield f"{path}: Invalid value: {value}: {said}"
    if "maximum" in node and isinstance(value, int) and value > node["maximum"]:
        said = f"{path} in body should be less than or equal to {node['maximum']}"
        yield f"{path}: Invalid value: {value}: {said}"
    if isinstance(value, str):
        yield from _wrong_text(node, value, path)
    if isinstance(value, list) and len(value) < node.get("minItems", 0):
        said = f"{path} in body should have at least {node['minItems']} items"
        yield f"{path}: Invalid value: {len(value)}: {said}"
    if "maxItems" in node and isinstance(value, list) and len(value) > node["maxItems"]:
        yield f"{path}: Too many: {len(value)}: must have at most {node['maxItems']} items"


def _wrong_text(node: Node, value: str, path: str) -> Iterator[str]:
    if len(value) > node.get("maxLength", len(value)):
        yield f"{path}: Too long: may not be more than {node['maxLength']} bytes"
    if len(value) < node.get("minLength", 0):
        said = f"{path} in body should be at least {node['minLength']} chars long"
        yield f'{path}: Invalid value: "{value}": {said}'
    if "pattern" in node and not re.search(node["pattern"], value):
        yield f"{path}: Invalid value: \"{value}\": {path} in body should match '{node['pattern']}'"


def _invalid_fields(schemas: Schemas, node: Node, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for key in node.get("required", ()):
        if value.get(key) is None:
            yield f"{_join(path, key)}: Required value"
    for key, each in value.items():
        child = schemas.child(node, key)
        if child is not None:
            yield from invalid_values(schemas, child, each, _join(path, key))


def _repeated(node: Node, value: list[Any], path: str) -> Iterator[str]:
    kind, keys = list_type(node)
    if kind != "map":
        return
    seen = set()
    for index, each in enumerate(value):
        key = tuple(each.get(k) for k in keys) if isinstance(each, Mapping) else None
        if key in seen:
            yield f"{path}[{index}]: Duplicate value: {dict(zip(keys, key or (), strict=False))}"
        seen.add(key)


def _fits(node: Node, value: Any) -> bool:
    choices = node.get("oneOf")
    if choices:
        return any(_fits(choice, value) for choice in choices)
    types = node.get("type")
    if types is None:
        return True
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, _TYPES[name]) for name in names)


def _named(node: Node) -> str:
    types = node.get("type") or [t for c in node.get("oneOf", ()) for t in c["type"]]
    return ", ".join([types] if isinstance(types, str) else [t for t in types if t != "null"])


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
