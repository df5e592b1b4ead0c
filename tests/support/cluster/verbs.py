"""What the API server does: create, read, replace, patch, apply, delete, with admission and ownership."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.cluster import (
    admission,
    defaults,
    features,
    managed,
    merging,
    refusals,
    semantics,
    trees,
    validation,
)
from tests.support.cluster.garbage import Garbage
from tests.support.cluster.managed import Applying, Owners
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.resources import BUILT_IN
from tests.support.cluster.schemas import Resource, Schemas
from tests.support.cluster.store import Name, Object, Store

APPLY = "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How something is to be done, from the query."""

    manager: str = "unknown"
    force: bool = False
    dry_run: bool = False
    validation: str = "Strict"
    subresource: str = ""
    propagation: str = "Background"
    grace_seconds: int | None = None
    preconditions: Mapping[str, str] = field(default_factory=dict)


class Cluster:
    """One API server; `schemas` is its version, `extra` the kinds of its custom resources."""

    def __init__(
        self, schemas: Schemas, *, clock: Callable[[], float], extra: Iterable[Resource] = ()
    ) -> None:
        self.schemas = schemas
        self.resources = tuple(r for r in (*BUILT_IN, *extra) if schemas.has(r))
        self.store = Store(clock)
        self.garbage = Garbage(self.store, self.resources)
        for name in ("default", "kube-system"):
            self.create(
                self.kind("Namespace"), "", {"metadata": {"name": name}}, Options(manager="apiserver")
            )

    def kind(self, kind: str) -> Resource:
        """The resource of a kind; StopIteration when there is none."""
        return next(r for r in self.resources if r.kind == kind)

    def read(self, resource: Resource, name: Name) -> Object:
        """The object; raises Refusal 404."""
        found = self.store.get(resource, name)
        if found is None:
            raise refusals.not_found(resource, name[1])
        return found

    def create(self, resource: Resource, namespace: str, value: Object, options: Options) -> Object:
        """A new object."""
        value = self._received(resource, namespace, value, options)
        metadata = value["metadata"]
        if metadata.get("generateName") and not metadata.get("name"):
            metadata["name"] = f"{metadata['generateName']}{self.store.version % 100_000:05d}"
        name = (metadata.get("namespace", ""), metadata.get("name", ""))
        if self.store.get(resource, name) is not None:
            raise refusals.exists(resource, name[1])
        if resource.kind not in _WITH_WHOLE_STATUS:
            value.pop("status", None)
        owner = (options.manager, "Update", options.subresource)
        owners = managed.updated(self.schemas, self.schemas.of(resource), None, value, owner)
        return self._admit(resource, None, value, owners, options)

    def replace(self, resource: Resource, name: Name, value: Object, options: Options) -> Object:
        """PUT: the whole object, or its status."""
        before = self.read(resource, name)
        value = self._received(resource, name[0], value, options)
        version = value["metadata"].get("resourceVersion")
        if version and version != before["metadata"]["resourceVersion"]:
            raise refusals.changed(resource, name[1])
        return self._written(resource, before, value, options)

    def patch(self, resource: Resource, name: Name, kind: str, patch: Any, options: Options) -> Object:
        """PATCH in one of the four ways."""
        if kind == APPLY:
            return self._apply(resource, name, patch, options)
        before = self.read(resource, name)
        live = managed.bare(before)
        node = self.schemas.of(resource)
        try:
            if kind == STRATEGIC and resource in BUILT_IN:
                value = merging.strategic(self.schemas, node, live, patch)
            elif kind == MERGE:
                value = merging.merge_patch(live, patch)
            elif kind == JSON:
                value = merging.json_patch(live, patch)
            else:
                raise Refusal(415, f"the body of the request was in an unknown format: {kind}")
        except ValueError as error:
            raise Refusal(422, str(error)) from None
        value = self._received(resource, name[0], value, options)
        if value["metadata"].get("resourceVersion") != before["metadata"]["resourceVersion"]:
            raise refusals.changed(resource, name[1])
        return self._written(resource, before, value, options)

    def delete(self, resource: Resource, name: Name, options: Options) -> Object:
        """DELETE, with its preconditions, finalizers and the dependents."""
        found = self.read(resource, name)
        for key, wanted in options.preconditions.items():
            if found["metadata"].get(key) != wanted:
                said = f"Precondition failed: {key} in precondition: {wanted}, {key} in object meta: "
                raise Refusal(409, f"{said}{found['metadata'].get(key)}")
        if options.dry_run:
            return found
        return self.garbage.delete(
            resource, name, propagation=options.propagation, grace_seconds=options.grace_seconds
        )

    def _apply(self, resource: Resource, name: Name, patch: Object, options: Options) -> Object:
        if "managedFields" in patch.get("metadata", {}):
            raise Refusal(400, "metadata.managedFields must be nil")
        before = self.store.get(resource, name)
        read = replace(options, validation="Ignore")
        applied = _without_nothing(self._received(resource, name[0], patch, read))
        applied["metadata"].setdefault("name", name[1])
        if wrong := validation.untyped(self.schemas, resource, applied):
            raise Refusal(500, wrong)
        wanted = applied["metadata"].pop("resourceVersion", None)
        if wanted and (before is None or before["metadata"]["resourceVersion"] != wanted):
            raise refusals.changed(resource, name[1])
        if before is None and options.subresource:
            raise refusals.not_found(resource, name[1])
        if options.subresource == "status":
            applied = {k: v for k, v in applied.items() if k in ("apiVersion", "kind", "metadata", "status")}
        else:
            applied.pop("status", None)
        how = Applying(options.manager, options.force, options.subresource)
        node = self.schemas.of(resource)
        try:
            value, owners = managed.apply(self.schemas, node, before, applied, how)
        except managed.Conflicts as error:
            raise _conflict(error) from None
        return self._admit(resource, before, value, owners, options)

    def _written(self, resource: Resource, before: Object, value: Object, options: Options) -> Object:
        """What a replaced or patched object becomes: its status apart from the rest."""
        if options.subresource == "status":
            value = {**managed.bare(before), "status": value.get("status", {})}
        elif "status" in before:
            value["status"] = trees.copied(before["status"])
        elif resource.kind not in _WITH_WHOLE_STATUS:
            value.pop("status", None)
        owner = (options.manager, "Update", options.subresource)
        owners = managed.updated(self.schemas, self.schemas.of(resource), before, value, owner)
        return self._admit(resource, before, value, owners, options)

    def _received(self, resource: Resource, namespace: str, value: Any, options: Options) -> Object:
        """The body as an object of this kind and place; raises Refusal 400."""
        if not isinstance(value, dict):
            raise Refusal(400, "the object provided is unrecognized (must be of type object)")
        value = trees.copied(value)
        value.setdefault("apiVersion", resource.api_version)
        value.setdefault("kind", resource.kind)
        if (value["apiVersion"], value["kind"]) != (resource.api_version, resource.kind):
            said = f"the API version or kind in the data ({value['apiVersion']}, {value['kind']})"
            raise Refusal(
                400, f"{said} does not match the expected ({resource.api_version}, {resource.kind})"
            )
        metadata = value.setdefault("metadata", {})
        metadata.pop("managedFields", None)
        if resource.namespaced and metadata.setdefault("namespace", namespace) != namespace:
            raise Refusal(400, "the namespace of the provided object does not match the namespace sent")
        if options.validation == "Strict":
            unknown = list(validation.unknown_fields(self.schemas, self.schemas.of(resource), value))
            if unknown:
                raise Refusal(400, f"strict decoding error: {', '.join(unknown)}")
        return value

    def _admit(
        self, resource: Resource, before: Object | None, value: Object, owners: Owners, options: Options
    ) -> Object:
        name = value["metadata"]["name"]
        if before is None:
            self._require_namespace(resource, value)
        defaults.fill(resource.kind, value)
        admission.mutate(self.store, self.resources, resource, value)
        node = self.schemas.of(resource)
        wrong = [
            *validation.invalid_values(self.schemas, node, value),
            *semantics.problems(resource, value, before),
            *admission.collisions(self.store, resource, value),
            *features.problems(self.schemas.version, resource, value),
        ]
        if wrong:
            raise refusals.invalid(resource, name, wrong)
        refused = admission.refusal(self.store, self.resources, resource, value, before)
        if refused:
            raise refusals.forbidden(resource, name, refused)
        self._stamp(resource, before, value, owners)
        if options.dry_run:
            return {**value, "metadata": {"resourceVersion": str(self.store.version), **value["metadata"]}}
        stored = self.store.put(resource, value)
        return self.garbage.settle(resource, stored)

    def _require_namespace(self, resource: Resource, value: Object) -> None:
        if not resource.namespaced:
            return
        namespace = value["metadata"]["namespace"]
        found = self.store.get(self.kind("Namespace"), ("", namespace))
        if found is None:
            raise refusals.not_found(self.kind("Namespace"), namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise refusals.forbidden(resource, value["metadata"]["name"], why)

    def _stamp(self, resource: Resource, before: Object | None, value: Object, owners: Owners) -> None:
        metadata, old = value["metadata"], (before or {}).get("metadata", {})
        metadata["uid"] = old.get("uid") or self.store.uid()
        if before is None:
            defaults.select_own(value)
        metadata["creationTimestamp"] = old.get("creationTimestamp") or self.store.now()
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"):
            metadata.pop(key, None)
            if key in old:
                metadata[key] = old[key]
        if "spec" in value:
            grown = before is not None and before.get("spec") != value["spec"]
            metadata["generation"] = old.get("generation", 1) + grown
        entries = managed.shown(owners, resource.api_version, self.store.now())
        known = {
            (e["manager"], e["operation"], e.get("subresource", "")): e for e in old.get("managedFields", ())
        }
        metadata["managedFields"] = [_with_old_time(e, known) for e in entries]


_WITH_WHOLE_STATUS = frozenset({"Event", "Lease", "EndpointSlice", "Node"})
"""Kinds that a test may make with a status at once, as kubelets register with theirs."""


def _with_old_time(entry: Object, known: Mapping[tuple[str, str, str], Object]) -> Object:
    """An entry that owns what it owned keeps its time."""
    old = known.get((entry["manager"], entry["operation"], entry.get("subresource", "")))
    return old if old is not None and old["fieldsV1"] == entry["fieldsV1"] else entry


def _without_nothing(value: Any) -> Any:
    """What is applied as null is not applied."""
    if isinstance(value, dict):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    return value


def _conflict(error: managed.Conflicts) -> Refusal:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{owner[0]}"', "field": where}
        for owner, where in error.found
    ]
    by_manager: dict[str, list[str]] = {}
    for owner, where in error.found:
        by_manager.setdefault(owner[0], []).append(where)
    said = "; ".join(f'conflict with "{m}": {", ".join(fields)}' for m, fields in by_manager.items())
    return Refusal(
        409, f"Apply failed with {len(causes)} conflict{'s' * (len(causes) > 1)}: {said}", causes=causes
    )


def options(query: Mapping[str, str], *, agent: str, subresource: str = "") -> Options:
    """Options out of a query; without a `fieldManager` the client's program is the manager."""
    return Options(
        manager=query.get("fieldManager") or agent.partition("/")[0] or "unknown",
        force=query.get("force") == "true",
        dry_run=query.get("dryRun") == "All",
        validation=query.get("fieldValidation") or "Warn",
        subresource=subresource,
        propagation=query.get("propagationPolicy") or "Background",
        grace_seconds=int(query["gracePeriodSeconds"]) if "gracePeriodSeconds" in query else None,
    )


def deletion(before: Options, body: Mapping[str, Any] | None) -> Options:
    """The options of a deletion, which may come as its body."""
    body = body or {}
    grace = body.get("gracePeriodSeconds", before.grace_seconds)
    return replace(
        before,
        propagation=body.get("propagationPolicy") or before.propagation,
        grace_seconds=grace,
        dry_run=before.dry_run or "All" in (body.get("dryRun") or ()),
        preconditions=body.get("preconditions") or {},
    )


def listed(resource: Resource, items: Sequence[Object], version: int, more: str = "") -> Object:
    """A list as an answer."""
    metadata = {"resourceVersion": str(version), **({"continue": more} if more else {})}
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": list(items),
    }
