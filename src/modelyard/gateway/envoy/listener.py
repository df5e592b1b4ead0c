"""How a listener treats connections and requests, and the answers that Envoy gives by itself: pure."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from typing import Any

from modelyard.gateway.envoy import copies, limiting, statistics, sticky
from modelyard.gateway.envoy.forwarding import COMPARE_HEADER, LUA
from modelyard.gateway.envoy.table import CONTROL_PLANE, DOOR_HEADER

Json = dict[str, Any]

_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_UNTRUSTED = (
    "x-forwarded-",
    "x-envoy-",
    "x-modelyard-subject",
    COMPARE_HEADER,
    DOOR_HEADER,
    copies.ALIAS,
    copies.MARK,
    sticky.CLIENT_HEADER,
    "forwarded",
    "x-real-ip",
)
"""Prefixes of what only the gateway may say about a client."""
_GONE = ("UF", "UC", "UR", "URX", "LR", "UPE", "NC")
"""Envoy's flags for a replica that could not be reached or went away."""
_TOO_OFTEN = "this service takes no more requests per second; try again when `Retry-After` says"
_TOO_MANY = "this service has as many requests in progress as it may; try again shortly"

_LATER = {
    "headers_to_add": [
        {
            "header": {
                "key": "retry-after",
                "value": f"%METADATA(ROUTE:{limiting.METADATA}:{limiting.RETRY_AFTER})%",
            },
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    ]
}


@dataclass(frozen=True, slots=True)
class Scripts:
    """What the filters in Lua run."""

    authorize: str
    """Judges tokens."""
    sticky: str
    """Knows clients by a cookie."""

    @classmethod
    def installed(cls) -> Scripts:
        """Those that come with the package."""
        here = importlib.resources.files("modelyard.gateway.envoy")
        return cls(*(here.joinpath(f"{n}.lua").read_text(encoding="utf-8") for n in ("authorize", "sticky")))


def listener(name: str, address: tuple[str, int], manager: Json, *, tls: Json | None = None) -> Json:
    """The listener at this IP address and port whose connections `manager` looks after."""
    host, port = address
    socket: Json = {"address": host, "port_value": port}
    if ":" in host:
        socket["ipv4_compat"] = True
    chain: Json = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
                    **manager,
                },
            }
        ]
    }
    return {
        "name": name,
        "address": {"socket_address": socket},
        # Two gateways must never share one port unseen, as the kernel lets them with SO_REUSEPORT.
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [chain | ({"transport_socket": tls} if tls else {})],
    }


def manager(routes: Json, scripts: Scripts, *, mark: Json | None = None) -> Json:
    """What looks after connections, with its `routes`.

    `mark` is a header that every request gets first. All listeners count under one name.
    """
    return {
        "stat_prefix": "front",
        "codec_type": "AUTO",
        **routes,
        "http_filters": [
            {
                "name": LUA,
                "typed_config": {
                    "@type": f"{_FILTERS}.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": scripts.authorize},
                },
            },
            limiting.rate_filter(),
            sticky.cookie_filter(scripts.sticky),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_FILTERS}.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                    "dynamic_stats": False,
                },
            },
        ],
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        **_paths_and_headers(mark),
        # Uploads and event streams may rest for long; a client that never finishes its headers may not.
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "request_headers_timeout": "60s",
        "delayed_close_timeout": "1s",
        "access_log": [statistics.counting()],
        "local_reply_config": {"mappers": _local_replies()},
    }


def _paths_and_headers(mark: Json | None) -> Json:
    # Headers with underscores are dropped, as nginx does: behind some servers `x_modelyard_subject`
    # is the same as `x-modelyard-subject`. The request itself goes on.
    return {
        "use_remote_address": True,
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation"
                    ".header_mutation.v3.HeaderMutation",
                    "mutations": [
                        *({"remove_on_match": {"key_matcher": {"prefix": p}}} for p in _UNTRUSTED),
                        *([{"append": mark}] if mark else []),
                    ],
                },
            }
        ],
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "idle_timeout": "3600s",
            "headers_with_underscores_action": "DROP_HEADER",
        },
    }


def _local_replies() -> list[Json]:
    """What clients read when Envoy answers itself, first match first: always JSON with a code."""
    malformed = "the request is not well-formed HTTP, or its path has escaped slashes"
    return [
        *_call_replies(),
        _control_plane_away(),
        {**_reply(_status(429), "rate_limited", _TOO_OFTEN), **_LATER},
        _reply(_flags("UO"), "overloaded", _TOO_MANY, retry=True),
        _reply(_flags("UH"), "unavailable", "no replica of this service is ready; try again", retry=True),
        _reply(_flags(*_GONE), "unavailable", "the replica went away; try again shortly", retry=True),
        _reply(_flags("UT"), "timed_out", "the service did not answer in time"),
        _reply(_flags("NR"), "not_found", "there is nothing at this address"),
        _reply(_status(400), "invalid", malformed),
        _reply(_status(401), "unauthenticated"),
        _reply(_status(403), "forbidden"),
        _reply(_status(404), "not_found"),
        _reply(_status(408), "timed_out", "the request did not arrive in time"),
        _reply(_status(413), "too_large", "the request is too large"),
        _reply(_status(431), "too_large", "the request's headers are too large"),
        _kept(_status(507)),
        _reply(_status(503), "unavailable", "the gateway cannot serve this now", retry=True),
    ]


def _kept(matches: Json) -> Json:
    """When a replica could not be reached, and the request was too large to be kept for another one."""
    reply = _reply(matches, "unavailable", "the replica went away; try again shortly", retry=True)
    return {**reply, "status_code": 503}


def _call_replies() -> list[Json]:
    """What callers over gRPC read as the message of a status, which Envoy makes of the HTTP one."""
    return [
        {**_call_reply(_status(429), _TOO_OFTEN), **_LATER},
        _call_reply(_flags("UO"), _TOO_MANY),
        _call_reply(_flags("UH"), "no replica of this service is ready; try again"),
        _call_reply(_flags(*_GONE), "the replica went away; try again shortly"),
        _call_reply(_flags("UT"), "the service did not answer in time"),
        _call_reply(None, "%LOCAL_REPLY_BODY%"),
    ]


def _call_reply(matches: Json | None, text: str) -> Json:
    kind = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    called: Json = {"header_filter": {"header": kind}}
    return {
        "filter": {"and_filter": {"filters": [called, matches]}} if matches else called,
        "body_format_override": {"text_format_source": {"inline_string": text}},
    }


def _control_plane_away() -> Json:
    asked = {"header_filter": {"header": {"name": DOOR_HEADER, "string_match": {"exact": CONTROL_PLANE}}}}
    away = {"response_flag_filter": {"flags": ["UH", *_GONE]}}
    return {
        "filter": {"and_filter": {"filters": [asked, away]}},
        "status_code": 503,
        "headers_to_add": [_header("retry-after", "1")],
        "body_format_override": {
            "content_type": "application/problem+json",
            "json_format": {
                "type": "about:blank",
                "title": "Unavailable",
                "status": 503,
                "code": "unavailable",
                "detail": "the control plane is not running; services go on answering",
                "errors": [],
            },
        },
    }


def _reply(matches: Json, code: str, text: str = "", *, retry: bool = False) -> Json:
    """An answer in the error shape of the Open Inference Protocol; without `text` the sender's own counts."""
    reply: Json = {
        "filter": matches,
        "body_format_override": {
            "json_format": {"error": text or "%LOCAL_REPLY_BODY%", "code": code},
            "content_type": "application/json",
        },
    }
    if retry:
        reply["headers_to_add"] = [_header("retry-after", "1")]
    return reply


def _flags(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


def _status(status: int) -> Json:
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"modelyard.reply.{status}"}}
    return {"status_code_filter": {"comparison": comparison}}


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
