"""What the rendered roles allow, so that requests of the installed platform can be held against them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.cluster.store import Object

_PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/[^/]+"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$"
)
_FREE = ("selfsubjectaccessreviews",)
"""What every account may."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as rules speak of it."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


def asked(method: str, path: str, query: Mapping[str, str]) -> Asked | None:
    """The request in the words of rules; None for what is no resource, such as the version."""
    found = _PATH.match(path)
    if found is None:
        return None
    name, sub = found["name"] or "", found["sub"] or ""
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, "")
    if method == "DELETE":
        verb = "delete" if name else "deletecollection"
    if method == "GET":
        verb = "get" if name else "watch" if query.get("watch") in ("1", "true") else "list"
    resource = f"{found['resource']}/{sub}" if sub else found["resource"]
    return Asked(verb, found["group"] or "", resource, found["namespace"] or "", name)


def allows(objects: Iterable[Object], request: Asked, account: str) -> bool:
    """Whether roles and bindings among these objects let a ServiceAccount do this."""
    if request.resource in _FREE:
        return True
    known = list(objects)
    roles = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each["rules"]
        for each in known
        if each["kind"] in ("Role", "ClusterRole")
    }
    for binding in (each for each in known if each["kind"] in ("RoleBinding", "ClusterRoleBinding")):
        place = binding["metadata"].get("namespace", "")
        if binding["kind"] == "RoleBinding" and place != request.namespace:
            continue
        if not any(subject["name"] == account for subject in binding["subjects"]):
            continue
        reference = binding["roleRef"]
        inside = place if reference["kind"] == "Role" else ""
        rules = roles.get((reference["kind"], inside, reference["name"]), ())
        if any(_fits(rule, request) for rule in rules):
            return True
    return False


def _fits(rule: Mapping[str, Any], request: Asked) -> bool:
    names = rule.get("resourceNames")
    return (
        request.group in rule["apiGroups"]
        and request.resource in rule["resources"]
        and request.verb in rule["verbs"]
        and (not names or request.name in names)
    )
