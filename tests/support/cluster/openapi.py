"""The OpenAPI documents by which clients learn what the server validates."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

from tests.support.cluster.schemas import Resource, Schemas, load

Json = dict[str, Any]


def root(resources: Sequence[Resource]) -> Json:
    """`/openapi/v3`."""
    places = sorted({r.prefix.strip("/") for r in resources})
    return {"paths": {p: {"serverRelativeURL": f"/openapi/v3/{p}?hash={p}"} for p in places}}


def document(schemas: Schemas, resources: Sequence[Resource], prefix: str) -> str:
    """One group's document: its kinds, and that each may be validated by the server."""
    paths: Json = {}
    for resource in resources:
        if resource.prefix.strip("/") == prefix:
            middle = "/namespaces/{namespace}" if resource.namespaced else ""
            paths[f"{resource.prefix}{middle}/{resource.plural}/{{name}}"] = {"patch": _patch(resource)}
    head = {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": f"v{schemas.version}.0"}}
    components = _components(schemas.version)
    return f'{json.dumps(head)[:-1]}, "paths": {json.dumps(paths)}, "components": {components}}}'


@functools.cache
def _components(version: str) -> str:
    definitions = json.dumps(dict(load(version).definitions))
    return f'{{"schemas": {definitions.replace("#/$defs/", "#/components/schemas/")}}}'


def _patch(resource: Resource) -> Json:
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    return {
        "parameters": [{"name": n, "in": "query", "schema": {"type": "string"}} for n in names],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }
