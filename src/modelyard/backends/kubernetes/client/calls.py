"""What is sent for each verb: pure, so that it can be looked at without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Literal

import orjson

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.kinds import Kind, Manifest
from modelyard.domain.errors import FieldError, Invalid

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_QUESTIONS = frozenset({kinds.SELF_SUBJECT_ACCESS_REVIEW.qualified})
Merge = Literal["merge", "json", "strategic"]
Patch = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class Again(Enum):
    """What may follow a try of which nobody knows whether it was carried out."""

    YES = auto()
    """The same once more: it comes to the same."""
    NAMED = auto()
    """The same once more, and that there is one of that name then says that it was carried out."""
    NO = auto()
    """Nothing: a second one could do something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to the API server."""

    verb: str
    """What metrics call it."""
    kind: str
    path: str
    method: str = "GET"
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = JSON
    accept: str = JSON
    again: Again = Again.YES
    urgent: bool = False
    """Whether it waits for nobody else's turn, as what keeps a lease."""

    @property
    def writes(self) -> bool:
        """Whether something is different afterwards; what is only tried or only asked by POST is not."""
        return self.method != "GET" and "dryRun" not in self.query and self.kind not in _QUESTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Some objects of a kind."""

    kind: Kind
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    @property
    def query(self) -> dict[str, str]:
        """Its selectors."""
        return _given(labelSelector=self.labels, fieldSelector=self.fields)


def get(kind: Kind, name: str, *, namespace: str, subresource: str = "") -> Call:
    """Read one object."""
    return _call("get", kind, _path(kind, namespace, name, subresource))


def page(wanted: Selection, *, size: int, following: str = "") -> Call:
    """Read one page of a list."""
    query = wanted.query | {"limit": str(size)} | _given(**{"continue": following})
    accept = f"{METADATA_LIST},{JSON}" if wanted.metadata_only else JSON
    path = wanted.kind.path(namespace=wanted.namespace)
    return replace(_call("list", wanted.kind, path), query=query, accept=accept)


def watch(wanted: Selection, *, version: str, seconds: int, initial: bool) -> Call:
    """Follow a kind from a version on, or with everything that there is at first."""
    query = wanted.query | {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
    if initial:
        query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    query |= _given(resourceVersion=version)
    accept = f"{METADATA},{JSON}" if wanted.metadata_only else JSON
    path = wanted.kind.path(namespace=wanted.namespace)
    return replace(_call("watch", wanted.kind, path), query=query, accept=accept)


def apply(manifest: Manifest, *, manager: str, force: bool, dry_run: bool, subresource: str) -> Call:
    """Own fields of an object by server-side apply; raises Invalid for an object without a name."""
    kind, path = _place(manifest, subresource)
    query = {"fieldManager": manager, "force": "true" if force else "false", "fieldValidation": "Strict"}
    body = manifest
    if subresource == "scale":
        body = {"apiVersion": "autoscaling/v1", "kind": "Scale"} | {
            key: manifest[key] for key in ("metadata", "spec") if key in manifest
        }
    return replace(
        _call("apply", kind, path),
        method="PATCH",
        query=query | _dry(dry_run),
        body=orjson.dumps(body),
        content_type=_APPLY,
    )


def create(manifest: Manifest, *, manager: str, dry_run: bool) -> Call:
    """Make an object; its namespace is where it stands."""
    kind, (namespace, name) = kinds.of(manifest), kinds.place(manifest)
    query = {"fieldManager": manager, "fieldValidation": "Strict"} | _dry(dry_run)
    call = _call("create", kind, kind.path(namespace=_namespace(kind, namespace)))
    again = Again.NAMED if name and not dry_run else Again.NO
    return replace(call, method="POST", query=query, body=orjson.dumps(manifest), again=again)


def update(manifest: Manifest, *, manager: str, subresource: str) -> Call:
    """Put an object in the place of the one there is."""
    kind, path = _place(manifest, subresource)
    known = bool(manifest["metadata"].get("resourceVersion"))
    return replace(
        _call("update", kind, path),
        method="PUT",
        query={"fieldManager": manager, "fieldValidation": "Strict"},
        body=orjson.dumps(manifest),
        again=Again.YES if known else Again.NO,
    )


def patch(  # noqa: PLR0913 - as the API has it
    kind: Kind,
    name: str,
    change: Patch,
    *,
    namespace: str,
    merge: Merge,
    subresource: str = "",
    resource_version: str = "",
    manager: str = "modelyard",
) -> Call:
    """Change fields of an object; with a version, only if it still has that."""
    if (merge == "json") is isinstance(change, Mapping):
        raise Invalid(f"a {merge} patch is a {'list of operations' if merge == 'json' else 'document'}")
    if resource_version:
        change = _guarded(change, resource_version)
    return replace(
        _call("patch", kind, _path(kind, namespace, name, subresource)),
        method="PATCH",
        query={"fieldManager": manager, "fieldValidation": "Strict"},
        body=orjson.dumps(change),
        content_type=_PATCHES[merge],
        again=Again.YES if merge == "merge" or resource_version else Again.NO,
    )


def delete(  # noqa: PLR0913 - as the API has it
    kind: Kind,
    name: str,
    *,
    namespace: str,
    uid: str = "",
    resource_version: str = "",
    propagation: str = "Background",
    grace_seconds: int | None = None,
) -> Call:
    """Delete an object; with `uid` or version, only that one."""
    body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
    conditions = _given(uid=uid, resourceVersion=resource_version)
    if conditions:
        body["preconditions"] = conditions
    if grace_seconds is not None:
        body["gracePeriodSeconds"] = grace_seconds
    call = _call("delete", kind, _path(kind, namespace, name))
    return replace(call, method="DELETE", body=orjson.dumps(body))


def delete_all(wanted: Selection, *, propagation: str) -> Call:
    """Delete what fits in one namespace; raises Invalid without labels, which would be everything."""
    if not wanted.labels:
        raise Invalid("deleting a collection needs labels: without any it would be everything")
    body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
    path = wanted.kind.path(namespace=_namespace(wanted.kind, wanted.namespace))
    call = _call("deletecollection", wanted.kind, path)
    return replace(call, method="DELETE", query=wanted.query, body=orjson.dumps(body))


def plain(verb: str, path: str, *, accept: str = JSON) -> Call:
    """Read something that is no object, such as the version."""
    return Call(verb=verb, kind="", path=path, accept=accept)


def _call(verb: str, kind: Kind, path: str) -> Call:
    return Call(verb=verb, kind=kind.qualified, path=path, urgent=kind == kinds.LEASE)


def _place(manifest: Manifest, subresource: str) -> tuple[Kind, str]:
    kind, (namespace, name) = kinds.of(manifest), kinds.place(manifest)
    return kind, _path(kind, namespace, name, subresource)


def _path(kind: Kind, namespace: str, name: str, subresource: str = "") -> str:
    return kind.path(namespace=_namespace(kind, namespace), name=_name(name), subresource=subresource)


def _namespace(kind: Kind, namespace: str) -> str:
    if kind.namespaced and not namespace:
        message = f"a {kind.name} stands in a namespace, and none is named"
        raise Invalid(message, errors=[FieldError("metadata.namespace", message)])
    return namespace


def _name(name: str) -> str:
    if not name or "/" in name or name in (".", ".."):
        message = f"{name!r} is no name of an object"
        raise Invalid(message, errors=[FieldError("metadata.name", message)])
    return name


def _guarded(change: Patch, version: str) -> Patch:
    """The change, for this version of the object only."""
    if isinstance(change, Mapping):
        return {**change, "metadata": {**(change.get("metadata") or {}), "resourceVersion": version}}
    # Not a `test`, whose failure would be a 422 like that of any bad patch: this way it is a 409.
    return [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}, *change]


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _given(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}
