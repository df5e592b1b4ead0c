"""Who owns which field: server-side apply with its conflicts, and what updates do to ownership."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.cluster import fieldsets, merging, trees
from tests.support.cluster.fieldsets import FieldSet
from tests.support.cluster.schemas import Node, Schemas

Owner = tuple[str, str, str]
"""Manager, operation (`Apply` or `Update`), subresource."""
Owners = dict[Owner, FieldSet]


class Conflicts(Exception):
    """Fields that others own and that somebody without `force` would change."""

    def __init__(self, found: list[tuple[Owner, str]]) -> None:
        super().__init__(f"Apply failed with {len(found)} conflict(s)")
        self.found = found


@dataclass(frozen=True, slots=True)
class Applying:
    """One server-side apply."""

    manager: str
    force: bool
    subresource: str = ""

    @property
    def owner(self) -> Owner:
        return self.manager, "Apply", self.subresource


def owners_of(live: Mapping[str, Any] | None) -> Owners:
    """What an object's `managedFields` say."""
    entries = (live or {}).get("metadata", {}).get("managedFields") or ()
    return {
        (e["manager"], e["operation"], e.get("subresource", "")): frozenset(
            fieldsets.parse(e.get("fieldsV1", {}))
        )
        for e in entries
    }


def apply(
    schemas: Schemas, node: Node, live: dict[str, Any] | None, applied: dict[str, Any], how: Applying
) -> tuple[dict[str, Any], Owners]:
    """The object after an apply, and who owns what then; raises Conflicts."""
    owners = owners_of(live)
    base = bare(live or {})
    wanted = fieldsets.of(schemas, node, applied)
    found = []
    for owner, owned in list(owners.items()):
        if owner == how.owner:
            continue
        taken = frozenset(
            path
            for path in owned & wanted
            if merging.value_at(schemas, node, base, path) != merging.value_at(schemas, node, applied, path)
        )
        found += [(owner, fieldsets.dotted(path)) for path in sorted(taken)]
        owners[owner] = owned - taken
    if found and not how.force:
        raise Conflicts(found)
    others = frozenset().union(*(owned for owner, owned in owners.items() if owner != how.owner))
    given_up = owners.get(how.owner, frozenset()) - wanted - others
    given_up = frozenset(p for p in given_up if not any(o[: len(p)] == p for o in others))
    kept = merging.without(schemas, node, base, given_up)
    owners[how.owner] = wanted
    return merging.merged(schemas, node, kept, applied), {o: p for o, p in owners.items() if p}


def updated(
    schemas: Schemas, node: Node, live: dict[str, Any] | None, new: dict[str, Any], owner: Owner
) -> Owners:
    """Who owns what after somebody replaced or patched the object: what changed is theirs."""
    owners = owners_of(live)
    before, after = bare(live or {}), bare(new)
    now = fieldsets.of(schemas, node, after)
    same = _untouched(before, after)
    changed = frozenset(
        path
        for path in now
        if path[:1] not in same
        and path[:2] not in same
        and merging.value_at(schemas, node, before, path) != merging.value_at(schemas, node, after, path)
    )
    result = {o: (owned & now) - (changed if o != owner else frozenset()) for o, owned in owners.items()}
    mine = (result.get(owner, frozenset()) | changed) & now
    result[owner] = mine
    return {o: paths for o, paths in result.items() if paths}


def _untouched(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[tuple[str, ...]]:
    """The uppermost fields that are as they were, so that nobody looks at everything below them."""
    found: set[tuple[str, ...]] = set()
    for key, value in after.items():
        old = before.get(key)
        if old == value:
            found.add((f"f:{key}",))
        elif isinstance(old, dict) and isinstance(value, dict):
            found |= {(f"f:{key}", f"f:{each}") for each in value if old.get(each) == value[each]}
    return frozenset(found)


def bare(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without `managedFields`."""
    result = trees.copied(dict(value))
    result.get("metadata", {}).pop("managedFields", None)
    return result


def shown(owners: Owners, api_version: str, at: str) -> list[dict[str, Any]]:
    """As `managedFields`."""
    return [
        {
            "manager": manager,
            "operation": operation,
            "apiVersion": api_version,
            "time": at,
            "fieldsType": "FieldsV1",
            "fieldsV1": fieldsets.tree(paths),
            **({"subresource": subresource} if subresource else {}),
        }
        for (manager, operation, subresource), paths in sorted(owners.items())
    ]
