"""How a client is sent where it was sent before: pure.

What is known of the client is hashed, and the hash chooses among the weights. The same client is sent to the
same place after any restart, and when weights change only as many move as have to.
"""

from __future__ import annotations

from typing import Any

from modelyard.domain.traffic_spec import Sticky, StickyBy

Json = dict[str, Any]

CLIENT_HEADER = "x-modelyard-client"
"""Set by the filter: what is known of a client by its cookie."""
COOKIE = "modelyard.sticky"

_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3"


def cookie_filter(source: str) -> Json:
    """The listener's filter that knows clients by a cookie; only routes that ask for it pay for it."""
    configured = {"@type": f"{_LUA}.Lua", "default_source_code": {"inline_string": source}}
    return {"name": COOKIE, "disabled": True, "typed_config": configured}


def cookie(sticky: Sticky | None) -> tuple[Json, Json]:
    """What a route says so that this filter runs, and its metadata for it."""
    if sticky is None or sticky.by is not StickyBy.COOKIE:
        return {}, {}
    runs = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
    return {COOKIE: runs}, {COOKIE: {"name": sticky.key, "ttl": str(sticky.ttl_seconds)}}


def choice(sticky: Sticky | None) -> tuple[Json, Json]:
    """What a route's action and its weighted clusters say so that a client's hash chooses."""
    match sticky.by if sticky else None:
        case StickyBy.COOKIE:
            policy: Json = {"header": {"header_name": CLIENT_HEADER}}
        case StickyBy.HEADER:
            policy = {"header": {"header_name": sticky.key.lower() if sticky else ""}}
        case StickyBy.SOURCE:
            policy = {"connection_properties": {"source_ip": True}}
        case None:
            return {}, {}
    return {"hash_policy": [policy]}, {"use_hash_policy": True}
