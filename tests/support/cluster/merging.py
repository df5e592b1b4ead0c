"""How objects are put together: server-side apply, strategic merge, merge patch, JSON patch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.cluster import fieldsets, trees
from tests.support.cluster.fieldsets import FieldSet, Path
from tests.support.cluster.schemas import Node, Schemas, is_atomic, list_type


def merged(schemas: Schemas, node: Node, live: Any, applied: Any) -> Any:
    """The live value with what is applied on top, lists merged as their type says."""
    node = schemas.resolved(node)
    if isinstance(applied, Mapping) and isinstance(live, Mapping) and not is_atomic(node):
        keys = [*live, *(k for k in applied if k not in live)]
        return {
            key: merged(schemas, schemas.child(node, key) or {}, live.get(key), applied[key])
            if key in applied
            else live[key]
            for key in keys
        }
    if isinstance(applied, list) and isinstance(live, list):
        kind, keys_of = list_type(node)
        if kind == "set":
            return [*live, *(each for each in applied if each not in live)]
        if kind == "map":
            return _by_key(schemas, node, keys_of, live, applied)
    return trees.copied(applied)


def _by_key(schemas: Schemas, node: Node, keys: tuple[str, ...], live: list[Any], applied: list[Any]) -> Any:
    inner = schemas.items(node)
    old = {fieldsets.element("map", keys, each): each for each in live}
    new = {fieldsets.element("map", keys, each): each for each in applied}
    order = [*(e for e in old if e not in new), *new]
    return [merged(schemas, inner, old.get(e), new[e]) if e in new else old[e] for e in order]


def without(schemas: Schemas, node: Node, value: Any, paths: FieldSet) -> Any:
    """The value without these fields; what becomes empty by it goes as well."""
    result = trees.copied(value)
    # An item that goes takes its fields along; of one that stays, nothing may take the key.
    whole = {p for p in paths if not any(p[:n] in paths for n in range(1, len(p)))}
    for path in sorted((p for p in whole if not _is_key(p)), key=len, reverse=True):
        _delete(schemas, schemas.resolved(node), result, path)
    return result


def _is_key(path: Path) -> bool:
    parent = path[-2] if len(path) > 1 else ""
    return parent.startswith("k:") and path[-1].removeprefix("f:") in json.loads(parent[2:])


def _delete(schemas: Schemas, node: Node, value: Any, path: Path) -> None:
    head, rest = path[0], path[1:]
    if isinstance(value, list):
        kind, keys = list_type(node)
        found = [n for n, each in enumerate(value) if fieldsets.element(kind, keys, each) == head]
        if found and rest:
            _delete(schemas, schemas.items(node), value[found[0]], rest)
        elif found:
            del value[found[0]]
        return
    key = head[2:]
    if not isinstance(value, dict) or key not in value:
        return
    if rest:
        _delete(schemas, schemas.child(node, key) or {}, value[key], rest)
    if not rest or value[key] in ({}, []):
        del value[key]


def value_at(schemas: Schemas, node: Node, value: Any, path: Path) -> Any:
    """What stands at a path; None when nothing does."""
    node = schemas.resolved(node)
    for each in path:
        if each.startswith("f:"):
            if not isinstance(value, Mapping):
                return None
            node, value = schemas.child(node, each[2:]) or {}, value.get(each[2:])
        else:
            kind, keys = list_type(node)
            found = [v for v in value or () if fieldsets.element(kind, keys, v) == each]
            if not found:
                return None
            # Whether an item is there is all that its own path says; its fields have paths of their own.
            value, node = (each if each is path[-1] else found[0]), schemas.items(node)
    return value


def strategic(schemas: Schemas, node: Node, live: Any, patch: Any) -> Any:
    """A strategic merge patch, with `$patch`, `$deleteFromPrimitiveList` and `$retainKeys`."""
    node = schemas.resolved(node)
    if not isinstance(patch, Mapping) or not isinstance(live, Mapping | type(None)):
        return trees.copied(patch)
    if patch.get("$patch") == "replace":
        return {k: trees.copied(v) for k, v in patch.items() if k != "$patch"}
    result = dict(live or {})
    for key in set(result) - set(patch.get("$retainKeys", result)):
        del result[key]
    for key, each in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [v for v in result.get(name, ()) if v not in each]
        elif key.startswith("$"):
            continue
        elif each is None:
            result.pop(key, None)
        else:
            result[key] = _strategic_field(schemas, schemas.child(node, key) or {}, result.get(key), each)
    return result


def _strategic_field(schemas: Schemas, node: Node, live: Any, patch: Any) -> Any:
    key = node.get("x-kubernetes-patch-merge-key")
    merges = "merge" in str(node.get("x-kubernetes-patch-strategy", ""))
    if not isinstance(patch, list) or not merges:
        return strategic(schemas, node, live, patch)
    if key is None:
        return [*(live or ()), *(each for each in patch if each not in (live or ()))]
    return _strategic_list(schemas, schemas.items(node), key, live or [], patch)


def _strategic_list(
    schemas: Schemas, node: Node, key: str, live: Sequence[Any], patch: Sequence[Any]
) -> list[Any]:
    result = {each.get(key): each for each in live}
    if any(each.get("$patch") == "replace" for each in patch):
        result = {}
    for each in patch:
        match each.get("$patch"):
            case "delete":
                result.pop(each[key], None)
            case "replace":
                continue
            case _:
                result[each[key]] = strategic(schemas, node, result.get(each[key]), each)
    return list(result.values())


def merge_patch(live: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, Mapping):
        return trees.copied(patch)
    result = dict(live) if isinstance(live, Mapping) else {}
    for key, each in patch.items():
        if each is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), each)
    return result


def json_patch(live: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """RFC 6902; raises ValueError for an operation that cannot be done."""
    result = trees.copied(live)
    for each in operations:
        path = [part.replace("~1", "/").replace("~0", "~") for part in each["path"].split("/")[1:]]
        match each["op"]:
            case "add":
                _put(result, path, each["value"], insert=True)
            case "replace":
                _get(result, path)
                _put(result, path, each["value"], insert=False)
            case "remove":
                _take(result, path)
            case "test":
                if _get(result, path) != each["value"]:
                    raise ValueError(f"testing value {each['path']} failed")
            case other:
                raise ValueError(f"operation {other} is not supported")
    return result


def _get(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"there is nothing at {'/'.join(path)}") from error
    return value


def _put(value: Any, path: Sequence[str], new: Any, *, insert: bool) -> None:
    parent, last = _get(value, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[last] = new
    elif last == "-":
        parent.append(new)
    elif insert:
        parent.insert(int(last), new)
    else:
        parent[int(last)] = new


def _take(value: Any, path: Sequence[str]) -> None:
    _get(value, path)
    parent = _get(value, path[:-1])
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]
