"""Copies of requests for mirrors: pure.

A copy goes through a listener of its own that only this Envoy reaches. There it is counted and timed as any
request is, but apart from them; and what waits on the way there is bounded for each mirror, so that one that
hangs costs a few waiting copies and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.domain.endpoint import Mirror, Route
from modelyard.gateway.base import Copies
from modelyard.gateway.envoy import statistics

Json = dict[str, Any]

LISTENER = "mirror"
ROUTE = "mirror"
"""Under this name copies are counted, whoever's they are."""
MARK = "x-modelyard-mirror"
"""Tells a replica that a request is a copy."""
ALIAS = "x-modelyard-alias"
"""Tells a replica as which service it was asked, when that is another than its own."""

_TO = "x-modelyard-copy-to"
_PREFIX = "copies/"
_CALLS = "/calls"
_MOST_WAITING = 64
"""Copies that may wait for one mirror's answers; more are dropped."""
_PATIENCE = "300s"
_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_COUNTED = {
    "upstream_rq_total": "sent",
    "upstream_rq_pending_overflow": "dropped",
    "upstream_rq_active_overflow": "dropped",
}
STATISTICS = rf"cluster\.{_PREFIX}[^.]+\.({'|'.join(_COUNTED)})"
"""Pattern of the numbers that `counted` reads."""


@dataclass(frozen=True, slots=True)
class _Way:
    """From a route to one of its mirrors; calls and other requests go in protocols of their own."""

    route: str
    share: str
    calls: bool

    @property
    def cluster(self) -> str:
        return f"{_PREFIX}{self.route}/{self.share}{_CALLS if self.calls else ''}"


def policies(route: Route, *, calls: bool) -> Json:
    """What a route's action says of its mirrors; one without a replica gets no copies."""
    found = [
        _policy(route, mirror, calls=calls)
        for mirror in route.mirrors
        if mirror.percent > 0 and mirror.share.targets
    ]
    return {"request_mirror_policies": found} if found else {}


def ways(routes: Sequence[Route]) -> Iterator[tuple[str, bool]]:
    """Every cluster that leads to the listener of copies, and whether it is for calls."""
    for route in routes:
        for mirror in route.mirrors:
            for calls in (False, True):
                yield _Way(route.name, mirror.share.name, calls).cluster, calls


def leads(cluster: str) -> bool:
    """Whether a cluster leads to the listener of copies instead of to replicas."""
    return cluster.startswith(_PREFIX)


def thresholds() -> Json:
    """Of such a cluster."""
    connections = _MOST_WAITING * 3 // 4
    return {
        "max_connections": connections,
        "max_pending_requests": _MOST_WAITING - connections,
        "max_requests": _MOST_WAITING,
        "max_retries": 0,
    }


def listener(socket: str) -> Json:
    """Where copies come from this Envoy itself and go on to the cluster that each names."""
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": LISTENER,
        "codec_type": "AUTO",
        "route_config": {"name": LISTENER, "virtual_hosts": [_everything()]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_FILTERS}.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                    "dynamic_stats": False,
                },
            }
        ],
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "access_log": [statistics.counting()],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": LISTENER,
        "address": {"pipe": {"path": socket, "mode": 0o600}},
        "filter_chains": [chain],
    }


def counted(stats: Mapping[str, int | str]) -> tuple[Copies, ...]:
    """How many copies each route's mirrors were sent since the gateway started."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for name, value in stats.items():
        cluster, _, what = name.removeprefix("cluster.").rpartition(".")
        if not cluster.startswith(_PREFIX) or what not in _COUNTED:
            continue
        project, service, *share = cluster.removeprefix(_PREFIX).removesuffix(_CALLS).split("/")
        numbers = found.setdefault((f"{project}/{service}", "/".join(share)), {})
        numbers[_COUNTED[what]] = numbers.get(_COUNTED[what], 0) + int(value)
    return tuple(Copies(route=route, share=share, **n) for (route, share), n in sorted(found.items()))


def _policy(route: Route, mirror: Mirror, *, calls: bool) -> Json:
    headers = {MARK: "1", _TO: mirror.share.name}
    if mirror.share.service != route.name:
        headers[ALIAS] = route.service
    return {
        "cluster": _Way(route.name, mirror.share.name, calls).cluster,
        "runtime_fraction": {"default_value": {"numerator": mirror.percent, "denominator": "HUNDRED"}},
        "disable_shadow_host_suffix_append": True,
        "request_headers_mutations": [
            {
                "append": {
                    "header": {"key": name, "value": value},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }
            }
            for name, value in headers.items()
        ],
    }


def _everything() -> Json:
    action = {"cluster_header": _TO, "timeout": _PATIENCE, "idle_timeout": _PATIENCE}
    entry = {
        "name": ROUTE,
        "match": {"prefix": "/"},
        "route": action,
        "request_headers_to_remove": [_TO],
    }
    return {"name": LISTENER, "domains": ["*"], "routes": [entry]}
