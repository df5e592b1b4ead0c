"""The route table: which host and path lead to which cluster, and who may pass: pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from modelyard.domain.endpoint import Route
from modelyard.gateway.envoy import limiting
from modelyard.gateway.envoy.copies import ALIAS
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
UNKNOWN = "no such service; `modelyard status` lists what is deployed"
"""What a client reads who asks for a service that is not there."""


def route_table(routes: Sequence[Route], *, name: str, domain: str, version: str) -> Json:
    """The whole table; `routes` have distinct names."""
    rates = limiting.rates(routes)
    return {
        "name": name,
        "ignore_port_in_host_matching": True,
        **({"typed_per_filter_config": rates} if rates else {}),
        "virtual_hosts": [
            *service_hosts(routes),
            unknown(routes, domain),
            {"name": "front", "domains": ["*"], "routes": _front_routes(routes, version)},
        ],
    }


def service_hosts(routes: Iterable[Route]) -> list[Json]:
    """A virtual host per service.

    `test.a.service.DOMAIN` is both the test stage of `a` and the service `test` of project `a`; the
    production service has it then, and the other one answers at its path.
    """
    owners: dict[str, Route] = {}
    for route in sorted((r for r in routes if r.hosted), key=lambda r: ("@" in r.service, r.name)):
        owners.setdefault(route.addresses.host.lower(), route)
    for route in [*owners.values()]:
        for alias in route.aliases:
            owners.setdefault(alias.lower(), route)
    domains: dict[str, list[str]] = {}
    for host, route in sorted(owners.items()):
        domains.setdefault(route.name, []).append(host)
    return [
        {
            "name": route.name,
            "domains": domains[route.name],
            "routes": list(_also_as(route, [*calls(route), *forward(route, {"prefix": "/"})])),
        }
        for route in {route.name: route for _, route in sorted(owners.items())}.values()
    ]


def _also_as(route: Route, entries: Iterable[Json]) -> Iterator[Json]:
    """The entries of a host, which tell replicas as which other services they may be asked there."""
    if not route.former:
        yield from entries
        return
    header = {"key": ALIAS, "value": ",".join((route.service, *route.former))}
    add = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    for entry in entries:
        yield {**entry, "request_headers_to_add": [*entry.get("request_headers_to_add", ()), add]}


def unknown(routes: Iterable[Route], domain: str) -> Json:
    """What automatic hosts answer that no service has."""
    domains = {domain, *(route.domain for route in routes)} - {""}
    return {
        "name": "unknown-service",
        "domains": [f"*.service.{name}" for name in sorted(domains)],
        "routes": [direct({"prefix": "/"}, 404, UNKNOWN)],
    }


def _front_routes(routes: Iterable[Route], version: str) -> list[Json]:
    platform = {"name": "modelyard", "version": version, "extensions": list(_EXTENSIONS)}
    rendered = [
        direct({"path": "/v2/health/live"}, 200, _text({"live": True})),
        direct({"path": "/v2/health/ready"}, 200, _text({"live": True, "ready": True})),
        direct({"path": "/v2"}, 200, _text(platform)),
        direct({"path": "/v2/"}, 200, _text(platform)),
    ]
    for route in routes:
        rendered += by_path(route)
    for route in routes:
        rendered += calls(route, named=True)
    rendered += [
        direct({"prefix": "/", "grpc": {}}, 404, _UNNAMED),
        direct({"prefix": "/v2/models/"}, 404, UNKNOWN),
        direct({"prefix": "/services/"}, 404, UNKNOWN),
        _to_control_plane(),
    ]
    return rendered


def health() -> list[Json]:
    """Entries by which the control plane answers whether it is well, and nothing else."""
    paths = ("/livez", "/healthz", "/readyz")
    return [{**_to_control_plane(), "match": {"path": path}} for path in paths]


def by_path(route: Route) -> list[Json]:
    """Entries for its path and, where it has one, its alias."""
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


def direct(match: Json, status: int, body: str) -> Json:
    """An entry that the gateway answers by itself."""
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
