"""How one route's requests go on to its replicas: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from modelyard.domain.endpoint import Mirror, Pin, Route, Share
from modelyard.gateway.envoy.holding import patient
from modelyard.gateway.routes import DEFAULT_PROJECT

Json = dict[str, Any]

SERVICE_HEADER = "x-modelyard-service"
"""Metadata with which a gRPC call names its service at the front door's own host."""
LUA = "envoy.filters.http.lua"

_LUA_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"
_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_MARGIN_SECONDS = 2.0
"""The replica itself answers 504 at the deadline; the gateway only if even that fails."""
_LONGEST_CALL = "3600s"
"""A call may be a conversation: it ends with its own deadline, or when nothing was said for so long."""


def forward(route: Route, match: Json, *, strip: str = "") -> list[Json]:
    """Entries of the table that send what matches to the route's shares; pins come first."""
    timeout = f"{route.timeout_seconds + _MARGIN_SECONDS:.3f}s"
    action: Json = {"timeout": timeout, "idle_timeout": timeout, "retry_policy": _elsewhere()}
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
    action: Json = {"timeout": "0s", "idle_timeout": _LONGEST_CALL, "retry_policy": _elsewhere()}
    return list(_entries(route, match, action))


def without_token() -> Json:
    """What an entry says that is open to everyone."""
    return {LUA: {"@type": _LUA_PER_ROUTE, "disabled": True}}


def _entries(route: Route, match: Json, action: Json) -> Iterator[Json]:
    action = action | _copies(route.mirrors)
    for pin in route.pins:
        pinned = {**match, "headers": [*match.get("headers", ()), *_pinned(pin)]}
        yield _entry(route, pinned, {**action, "cluster": pin.share})
    yield _entry(route, match, {**action, **_divided(route.shares)})


def _entry(route: Route, match: Json, action: Json) -> Json:
    entry: Json = {
        "name": route.name,
        "match": match,
        "route": action,
        "request_headers_to_remove": ["authorization", "x-api-key", "cookie", SERVICE_HEADER],
        "response_headers_to_remove": ["x-modelyard-retry"],
    }
    if route.public:
        entry["typed_per_filter_config"] = without_token()
    else:
        keys = {key.sha256: f"{key.subject}|{key.expires_at}" for key in route.keys}
        entry["metadata"] = {"filter_metadata": {LUA: keys}}
    return patient(entry, route.waking)


def _divided(shares: Sequence[Share]) -> Json:
    """To whom requests go; while nobody is ready, to the first, whose emptiness is the answer."""
    taking = [share for share in shares if share.weight > 0] or shares[:1]
    if len(taking) == 1:
        return {"cluster": taking[0].name}
    clusters = [{"name": share.name, "weight": share.weight} for share in taking]
    return {"weighted_clusters": {"clusters": clusters}}


def _copies(mirrors: Sequence[Mirror]) -> Json:
    """Whom copies go to; a mirror without a replica gets none."""
    policies = [
        {
            "cluster": mirror.share.name,
            "runtime_fraction": {"default_value": {"numerator": mirror.percent, "denominator": "HUNDRED"}},
        }
        for mirror in mirrors
        if mirror.percent > 0 and mirror.share.targets
    ]
    return {"request_mirror_policies": policies} if policies else {}


def _pinned(pin: Pin) -> list[Json]:
    if pin.header:
        return [{"name": pin.header, "string_match": {"exact": pin.value}}]
    pattern = f"(.*; ?)?{re.escape(pin.cookie)}={re.escape(pin.value)}(;.*)?"
    return [{"name": "cookie", "string_match": {"safe_regex": {"regex": pattern}}}]


def _elsewhere() -> Json:
    """Try another replica, but only with what no replica has begun."""
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request,retriable-headers",
        "num_retries": 2,
        "retriable_headers": [{"name": "x-modelyard-retry", "string_match": {"exact": "safe"}}],
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"type.googleapis.com/{_PREVIOUS_HOSTS}"},
            }
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
    }
