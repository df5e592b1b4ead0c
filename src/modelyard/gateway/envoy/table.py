"""The route table: which host and path lead to which cluster, and who may pass: pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from modelyard.domain.endpoint import Route
from modelyard.gateway.envoy import limiting
from modelyard.gateway.envoy.forwarding import calls, forward, without_token

Json = dict[str, Any]

CONTROL_PLANE = "control-plane"
"""Name of the control plane's cluster; no route can have it, since theirs contain a slash."""
DOOR_HEADER = "x-modelyard-door"
"""Tells the control plane, and the gateway's own replies, that a request was meant for it."""
_UNNAMED = (
    "no such service: name it with the metadata x-modelyard-service: [PROJECT/]NAME[@STAGE], "
    "or call NAME.service.DOMAIN; `modelyard status` lists what is deployed"
)
_EXTENSIONS = (
    "classification",
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "generate",
)
"""What is offered by model name at the front door; shared memory is only at a service's address."""
_UNKNOWN = "no such service; `modelyard status` lists what is deployed"


def route_table(routes: Sequence[Route], *, name: str, domain: str, version: str) -> Json:
    """The whole table; `routes` have distinct names."""
    rates = limiting.rates(routes)
    return {
        "name": name,
        "ignore_port_in_host_matching": True,
        **({"typed_per_filter_config": rates} if rates else {}),
        "virtual_hosts": [
            *_service_hosts(routes),
            {
                "name": "unknown-service",
                "domains": [f"*.service.{domain}"],
                "routes": [_direct({"prefix": "/"}, 404, _UNKNOWN)],
            },
            {"name": "front", "domains": ["*"], "routes": _front_routes(routes, version)},
        ],
    }


def _service_hosts(routes: Iterable[Route]) -> list[Json]:
    """A virtual host per service.

    `test.a.service.DOMAIN` is both the test stage of `a` and the service `test` of project `a`; the
    production service has it then, and the other one answers at its path.
    """
    owners: dict[str, Route] = {}
    for route in sorted(routes, key=lambda r: ("@" in r.service, r.name)):
        owners.setdefault(route.addresses.host.lower(), route)
    return [
        {"name": route.name, "domains": [host], "routes": [*calls(route), *forward(route, {"prefix": "/"})]}
        for host, route in sorted(owners.items())
    ]


def _front_routes(routes: Iterable[Route], version: str) -> list[Json]:
    platform = {"name": "modelyard", "version": version, "extensions": list(_EXTENSIONS)}
    rendered = [
        _direct({"path": "/v2/health/live"}, 200, _text({"live": True})),
        _direct({"path": "/v2/health/ready"}, 200, _text({"live": True, "ready": True})),
        _direct({"path": "/v2"}, 200, _text(platform)),
        _direct({"path": "/v2/"}, 200, _text(platform)),
    ]
    for route in routes:
        rendered += _by_path(route)
    for route in routes:
        rendered += calls(route, named=True)
    rendered += [
        _direct({"prefix": "/", "grpc": {}}, 404, _UNNAMED),
        _direct({"prefix": "/v2/models/"}, 404, _UNKNOWN),
        _direct({"prefix": "/services/"}, 404, _UNKNOWN),
        _to_control_plane(),
    ]
    return rendered


def _by_path(route: Route) -> list[Json]:
    path, alias = route.addresses.path, route.addresses.alias
    # Some clients quote the `@` of a stage; both spellings are the same address.
    paths = [path, path.replace("@", "%40")] if "@" in path else [path]
    rendered = [entry for p in paths for entry in forward(route, {"path_separated_prefix": p}, strip=p)]
    return rendered + (forward(route, {"path_separated_prefix": alias}) if alias else [])


def _to_control_plane() -> Json:
    door = {"header": {"key": DOOR_HEADER, "value": CONTROL_PLANE}}
    return {
        "name": CONTROL_PLANE,
        "match": {"prefix": "/"},
        "route": {
            "cluster": CONTROL_PLANE,
            "timeout": "0s",
            "idle_timeout": "0s",
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset-before-request",
                "num_retries": 2,
                "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.2s"},
            },
        },
        "request_headers_to_add": [{**door, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        "typed_per_filter_config": without_token(),
    }


def _direct(match: Json, status: int, body: str) -> Json:
    direct: Json = {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "typed_per_filter_config": without_token(),
    }
    if status == 200:
        content_type = {"header": {"key": "content-type", "value": "application/json"}}
        overwrite = {**content_type, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        direct["response_headers_to_add"] = [overwrite]
    return direct


def _text(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))
