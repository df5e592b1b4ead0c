"""Which request a match means, and which of several matches comes first: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.cluster.store import Object

Json = dict[str, Any]
_CALLS: Json = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}


@dataclass(frozen=True, slots=True)
class Matched:
    """One match of a rule, with all that it competes by."""

    rank: tuple[int, ...]
    """Smaller comes first: an exact path, a longer one, a method, more headers, more parameters."""
    age: str
    """Of its route; the older one comes first."""
    name: str
    """Of its route, with the namespace."""
    place: tuple[int, int]
    """Rule and match within the route."""
    match: Json
    """As Envoy matches."""
    rule: Json
    prefix: str
    """What a rewrite of the prefix replaces."""

    @property
    def order(self) -> tuple[Any, ...]:
        """By this they are sorted."""
        return self.rank, self.age, self.name, self.place


def of(route: Object) -> Iterator[Matched]:
    """Every match of every rule of an HTTPRoute or GRPCRoute."""
    metadata = route["metadata"]
    one = _call if route["kind"] == "GRPCRoute" else _request
    for number, rule in enumerate(route["spec"].get("rules", ())):
        for place, each in enumerate(rule.get("matches") or [{}]):
            rank, match, prefix = one(each)
            name = f"{metadata.get('namespace', '')}/{metadata['name']}"
            yield Matched(rank, metadata["creationTimestamp"], name, (number, place), match, rule, prefix)


def hostnames(listener: str, wanted: Iterable[str]) -> Iterator[str]:
    """What a listener's hostname and those of a route have in common."""
    for host in list(wanted) or ["*"]:
        if covers(listener, host):
            yield host
        elif covers(host, listener):
            yield listener


def covers(wide: str, host: str) -> bool:
    """Whether every name that `host` stands for is one of `wide`: `*.` is one label or more."""
    if wide in ("*", host):
        return True
    return wide.startswith("*.") and host.removeprefix("*").endswith(wide[1:])


def closeness(host: str) -> tuple[int, int]:
    """Which hostname comes first: one without a wildcard, then the longer one."""
    return (1 if host.startswith("*") else 0, -len(host))


def _request(match: Mapping[str, Any]) -> tuple[tuple[int, ...], Json, str]:
    path = {"type": "PathPrefix", "value": "/", **(match.get("path") or {})}
    found, prefix = _path(path["type"], path["value"])
    headers = [_header(each) for each in match.get("headers", ())]
    if "method" in match:
        headers.append({"name": ":method", "string_match": {"exact": match["method"]}})
    parameters = [
        {"name": each["name"], "string_match": _text(each)} for each in match.get("queryParams", ())
    ]
    found |= {"headers": headers} if headers else {}
    found |= {"query_parameters": parameters} if parameters else {}
    rank = (
        0 if path["type"] == "Exact" else 1,
        -len(path["value"]),
        0 if "method" in match else 1,
        -len(match.get("headers", ())),
        -len(parameters),
    )
    return rank, found, prefix


def _path(kind: str, value: str) -> tuple[Json, str]:
    if kind == "Exact":
        return {"path": value}, ""
    if kind == "RegularExpression":
        return {"safe_regex": {"regex": value}}, ""
    bare = value.rstrip("/")
    # A prefix is one of whole elements: `/foo` is none of `/foobar`.
    return ({"path_separated_prefix": bare} if bare else {"prefix": "/"}), bare


def _call(match: Mapping[str, Any]) -> tuple[tuple[int, ...], Json, str]:
    method = match.get("method") or {}
    service, name = method.get("service", ""), method.get("method", "")
    headers = [_header(each) for each in match.get("headers", ())]
    if method.get("type", "Exact") == "Exact" and service and name:
        found: Json = {"path": f"/{service}/{name}"}
    elif method.get("type", "Exact") == "Exact":
        found = {"safe_regex": {"regex": f"/{re.escape(service) or '[^/]+'}/{re.escape(name) or '[^/]+'}"}}
    else:
        found = {"safe_regex": {"regex": f"/{service or '[^/]+'}/{name or '[^/]+'}"}}
    rank = (0, -len(service), -len(name), -len(headers), 0)
    return rank, {**found, "headers": [*headers, _CALLS]}, ""


def _header(each: Mapping[str, Any]) -> Json:
    return {"name": each["name"], "string_match": _text(each)}


def _text(each: Mapping[str, Any]) -> Json:
    if each.get("type", "Exact") == "Exact":
        return {"exact": each["value"]}
    return {"safe_regex": {"regex": each["value"]}}
