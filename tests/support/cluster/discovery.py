"""What the API server says of itself: version, groups, kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.cluster import measuring
from tests.support.cluster.schemas import Resource

Json = dict[str, Any]
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def version(number: str) -> Json:
    """`/version`."""
    major, minor = number.split(".")
    return {"major": major, "minor": minor, "gitVersion": f"v{number}.0", "platform": "linux/amd64"}


def core() -> Json:
    """`/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(resources: Sequence[Resource]) -> Json:
    """`/apis`."""
    named = sorted({(r.group, r.version) for r in resources if r.group})
    listed = [*(_group(g, v) for g, v in named), measuring.group()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def kinds(resources: Sequence[Resource], group: str, version: str) -> Json | None:
    """`/api/v1` and `/apis/GROUP/VERSION`; None where nothing is."""
    found = [r for r in resources if (r.group, r.version) == (group, version)]
    if not found:
        return None
    listed = [each for r in found for each in _entries(r)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].api_version,
        "resources": listed,
    }


def _group(group: str, version: str) -> Json:
    known = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [known], "preferredVersion": known}


def _entries(resource: Resource) -> list[Json]:
    entry = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(VERBS),
        "shortNames": list(resource.short),
    }
    status = {
        **entry,
        "shortNames": [],
        "name": f"{resource.plural}/status",
        "verbs": ["get", "patch", "update"],
    }
    scale = {
        **status,
        "name": f"{resource.plural}/scale",
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
    }
    more = [scale] if resource.scale else []
    if resource.kind == "Pod":
        more = [{**status, "name": f"pods/{name}", "verbs": ["create", "get"]} for name in ("exec", "log")]
        eviction = {"group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]}
        more.append({**status, "name": "pods/eviction", **eviction})
    return [entry, status, *more]
