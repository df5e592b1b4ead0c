"""How one route's requests go on to its replicas: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from modelyard.domain.endpoint import Pin, Route, Share
from modelyard.gateway.envoy import copies, limiting, sticky
from modelyard.gateway.envoy.holding import patient
from modelyard.gateway.routes import DEFAULT_PROJECT

Json = dict[str, Any]

SERVICE_HEADER = "x-modelyard-service"
"""Metadata with which a gRPC call names its service at the front door's own host."""
LUA = "envoy.filters.http.lua"

COMPARE_HEADER = "x-modelyard-compare"
"""Marks both copies of a request whose answers are compared; `+` in front allows to keep its inputs."""

_LUA_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"
_MARGIN_SECONDS = 2.0
"""The replica itself answers 504 at the deadline; the gateway only if even that fails."""
_LONGEST_CALL = "3600s"
"""A call may be a conversation: it ends with its own deadline, or when nothing was said for so long."""


def forward(route: Route, match: Json, *, strip: str = "") -> list[Json]:
    """Entries of the table that send what matches to the route's shares; pins come first."""
    timeout = f"{route.timeout_seconds + _MARGIN_SECONDS:.3f}s"
    action: Json = {"timeout": timeout, "idle_timeout": timeout, **copies.policies(route, calls=False)}
    if strip:
        # One route does for `/path` and `/path/…`, which matters since Envoy tries them one by one.
        pattern = {"regex": f"^{re.escape(strip)}/?"}
        action["regex_rewrite"] = {"pattern": pattern, "substitution": "/"}
    return list(_entries(route, match, action))


def calls(route: Route, *, named: bool = False) -> list[Json]:
    """gRPC to a service, which is the host's or `named` in the call's metadata."""
    match: Json = {"prefix": "/", "grpc": {}}
    if named:
        # Of many services one is asked for, so a pattern for every spelling costs less than a route for each.
        project, _, service = route.name.partition("/")
        optional = "?" if project == DEFAULT_PROJECT else ""
        stage = "" if "@" in service else "(@production)?"
        pattern = f"({re.escape(project)}/){optional}{re.escape(service)}{stage}"
        match["headers"] = [{"name": SERVICE_HEADER, "string_match": {"safe_regex": {"regex": pattern}}}]
    action: Json = {"timeout": "0s", "idle_timeout": _LONGEST_CALL, **copies.policies(route, calls=True)}
    return list(_entries(route, match, action))


def without_token() -> Json:
    """What an entry says that is open to everyone."""
    return {LUA: {"@type": _LUA_PER_ROUTE, "disabled": True}}


def _entries(route: Route, match: Json, action: Json) -> Iterator[Json]:
    action = action | limiting.elsewhere(route.limits) | limiting.counted(route)
    known = {share.name: share for share in route.shares}
    for pin in route.pins:
        pinned = {**match, "headers": [*match.get("headers", ()), *_pinned(pin)]}
        yield _entry(route, pinned, action, [known[pin.share]])
    yield _entry(route, match, action, [s for s in route.shares if s.weight > 0] or route.shares[:1])


def _entry(route: Route, match: Json, action: Json, shares: Sequence[Share]) -> Json:
    """To one share, or divided among several; while nobody is ready, the first's emptiness is the answer."""
    entry: Json = {
        "name": route.name,
        "match": match,
        "request_headers_to_remove": ["authorization", "x-api-key", "cookie", SERVICE_HEADER],
        "response_headers_to_remove": ["x-modelyard-retry"],
    }
    filters: Json = {}
    metadata = limiting.told(route)
    if len(shares) == 1:
        entry["route"] = {**action, "cluster": shares[0].name}
        entry |= _named(route, shares[0])
    else:
        chosen, weighing = sticky.choice(route.sticky)
        clusters = [{"name": s.name, "weight": s.weight, **_named(route, s)} for s in shares]
        entry["route"] = {**action, **chosen, "weighted_clusters": {"clusters": clusters, **weighing}}
        entry["request_headers_to_remove"].append(sticky.CLIENT_HEADER)
        filters, known = sticky.cookie(route.sticky)
        metadata |= known
    filters |= without_token() if route.public else {}
    if filters:
        entry["typed_per_filter_config"] = filters
    if not route.public:
        keys = {key.sha256: f"{key.subject}|{key.expires_at}" for key in route.keys}
        metadata |= {LUA: keys}
    if metadata:
        entry["metadata"] = {"filter_metadata": metadata}
    if route.compares:
        entry["request_headers_to_add"] = [*entry.get("request_headers_to_add", ()), _mark(route)]
    return patient(entry, route.waking)


def _mark(route: Route) -> Json:
    """The same for both copies of a request, and of no other."""
    mark = {"key": COMPARE_HEADER, "value": f"{'+' if route.keeps_inputs else ''}%UNIQUE_ID%"}
    return {"header": mark, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _named(route: Route, share: Share) -> Json:
    """Tells replicas of another service as which one they are asked."""
    if share.service == route.name:
        return {}
    header = {"key": copies.ALIAS, "value": route.service}
    add = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {"request_headers_to_add": [add]}


def _pinned(pin: Pin) -> list[Json]:
    if pin.header:
        return [{"name": pin.header, "string_match": {"exact": pin.value}}]
    pattern = f"(.*; ?)?{re.escape(pin.cookie)}={re.escape(pin.value)}(;.*)?"
    return [{"name": "cookie", "string_match": {"safe_regex": {"regex": pattern}}}]
