"""Custom resources: as a real API server is told of them, and how this one comes to serve them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tests.support.cluster.crds import META
from tests.support.cluster.garbage import Garbage
from tests.support.cluster.resources import DEFINITION
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, condition, with_condition

_UNAPPROVED = {"api-approved.kubernetes.io": "unapproved, for tests only"}
"""What an API server wants to read before it takes groups that end in `k8s.io`."""


def definition(resource: Resource, schema: str) -> Object:
    """The CustomResourceDefinition of a kind."""
    whole: dict[str, Any] = json.loads(schema)
    whole["properties"]["metadata"] = {"type": "object"}
    version: dict[str, Any] = {
        "name": resource.version, "served": True, "storage": True,
        "schema": {"openAPIV3Schema": {key: value for key, value in whole.items() if value != []}},
        "subresources": {"status": {}},
    }  # fmt: skip
    names = {"kind": resource.kind, "plural": resource.plural, "singular": resource.kind.lower()}
    names["listKind"] = f"{resource.kind}List"
    scope = "Namespaced" if resource.namespaced else "Cluster"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}", "annotations": _UNAPPROVED},
        "spec": {
            "group": resource.group,
            "scope": scope,
            "names": {**names, "shortNames": list(resource.short)},
            "versions": [version],
        },
    }


def serve(cluster: Any) -> None:
    """Serve the kinds of the definitions that came since, and say in each that it is."""
    hand = Hand(cluster, "apiextensions-apiserver")
    for each in hand.list(DEFINITION.kind):
        if condition(each.get("status", {}), "Established"):
            continue
        for version in each["spec"]["versions"]:
            _add(cluster, each["spec"], version)
        good = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": ""}
        hand.status(each, {"conditions": with_condition(each.get("status", {}), good, cluster.store.now())})


def _add(cluster: Any, spec: Object, version: Object) -> None:
    names = spec["names"]
    resource = Resource(
        spec["group"], version["name"], names["kind"], names["plural"], spec["scope"] == "Namespaced",
        tuple(names.get("shortNames", ())), "scale" in version.get("subresources", {}),
    )  # fmt: skip
    schema = version["schema"]["openAPIV3Schema"]
    known = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": META}}
    whole = {**schema, "properties": {**schema.get("properties", {}), **known}}
    kinds = {**cluster.schemas.kinds, (resource.group, resource.version, resource.kind): whole}
    cluster.schemas = dataclasses.replace(cluster.schemas, kinds=kinds)
    cluster.resources = (*cluster.resources, resource)
    cluster.garbage = Garbage(cluster.store, cluster.resources)
