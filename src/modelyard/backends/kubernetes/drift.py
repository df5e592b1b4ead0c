"""What others changed of what we applied, and who they were: told by who owns which field. Pure.

Values are not compared: the API server fills in and rewrites them. But whoever changes a field of ours owns
it from then on, and whoever removes one leaves it to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import Manifest

Fields = Mapping[str, Any]
"""As in `managedFields`: `f:` before names, `k:` before the keys of an item, `v:` before a value."""

SOMEBODY = "somebody"
_IDENTITY = frozenset({"apiVersion", "kind", "metadata.name", "metadata.namespace"})
"""What an object is, which nobody owns."""
_MOST_PATHS = 5


@dataclass(frozen=True, slots=True)
class Loss:
    """A field of ours that is not ours any more."""

    path: str
    """Such as `spec.template.spec.containers[name=server].image`."""
    by: str
    """Who owns it now, or changed the object last."""


def lost(applied: Manifest, live: Manifest, *, manager: str = names.MANAGER) -> tuple[Loss, ...]:
    """The fields that we applied and do not own any more; `live` must come with its `managedFields`."""
    entries: Sequence[Mapping[str, Any]] = live["metadata"].get("managedFields") or ()
    others = [each for each in entries if each.get("manager") != manager]
    others.sort(key=lambda each: str(each.get("time", "")), reverse=True)
    return tuple(
        Loss(_path(steps), _owner(steps, others)) for steps in _lost(applied, _own(entries, manager), ())
    )


def told(name: str, losses: Sequence[Loss]) -> str:
    """One sentence on what was put back."""
    by = ", ".join(sorted({loss.by for loss in losses}))
    paths = [loss.path for loss in losses[:_MOST_PATHS]]
    more = f" and {len(losses) - _MOST_PATHS} more" if len(losses) > _MOST_PATHS else ""
    return f"{by} had changed {', '.join(paths)}{more} of {name}; it is put back"


def holds(live: Any, asked: Any) -> bool:
    """Whether everything that was asked for is there as it was asked for, whatever else is."""
    if isinstance(asked, Mapping):
        return isinstance(live, Mapping) and all(holds(live.get(k), v) for k, v in asked.items())
    if isinstance(asked, list):
        return isinstance(live, list) and len(live) >= len(asked) and all(map(holds, live, asked))
    return bool(live == asked)


@dataclass(frozen=True, slots=True)
class _Step:
    """One step down: the field's own name, and how people write it."""

    field: str
    words: str


Steps = tuple[_Step, ...]


def _own(entries: Sequence[Mapping[str, Any]], manager: str) -> Fields:
    return next(
        (
            each.get("fieldsV1") or {}
            for each in entries
            if (each.get("manager"), each.get("operation")) == (manager, "Apply")
            and not each.get("subresource")
        ),
        {},
    )


def _lost(value: Any, fields: Fields, above: Steps) -> Iterator[Steps]:
    """Where the value has a field that is not among those owned."""
    for step, below in _children(value, fields):
        here = (*above, step)
        if step.field not in fields:
            if _path(here) not in _IDENTITY:
                yield from _deepest(below, here)
        elif fields[step.field].keys() - {"."}:
            yield from _lost(below, fields[step.field], here)


def _deepest(value: Any, here: Steps) -> Iterator[Steps]:
    """Of an object that is lost as a whole its fields are named, of a list only the list."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            if (path := (*here, _Step(f"f:{name}", name))) and _path(path) not in _IDENTITY:
                yield from _deepest(below, path)
    else:
        yield here


def _children(value: Any, fields: Fields) -> Iterator[tuple[_Step, Any]]:
    if isinstance(value, dict):
        for name, below in value.items():
            if below is not None:
                yield _Step(f"f:{name}", name), below
    elif isinstance(value, list):
        keys = [(field, json.loads(field[2:])) for field in fields if field.startswith("k:")]
        shape = next((sorted(key) for _, key in keys), [])
        listed = any(field.startswith("v:") for field in fields)
        for item in value:
            if isinstance(item, dict) and shape:
                yield _item(item, keys, shape), item
            elif listed:
                yield _Step("v:" + json.dumps(item), f"[{item}]"), None


def _item(item: dict[str, Any], keys: Sequence[tuple[str, dict[str, Any]]], shape: Sequence[str]) -> _Step:
    """The item of a keyed list: what it does not say of its key, the API server filled in."""
    own = {name: item[name] for name in shape if name in item}
    words = "[" + ",".join(f"{name}={value}" for name, value in own.items()) + "]"
    for field, key in keys:
        if all(key.get(name) == value for name, value in own.items()):
            return _Step(field, words)
    return _Step("k:" + json.dumps(own, separators=(",", ":")), words)


def _owner(steps: Steps, others: Sequence[Mapping[str, Any]]) -> str:
    for entry in others:
        fields: Any = entry.get("fieldsV1") or {}
        for step in steps:
            fields = fields.get(step.field) if isinstance(fields, dict) else None
            if fields is None:
                break
        else:
            return str(entry.get("manager") or SOMEBODY)
    updates = (each for each in others if each.get("operation") == "Update" and not each.get("subresource"))
    return str(next(updates, {}).get("manager") or SOMEBODY)


def _path(steps: Steps) -> str:
    return "".join(each.words if each.words.startswith("[") else f".{each.words}" for each in steps).lstrip(
        "."
    )
