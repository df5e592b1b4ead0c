"""The documents Envoy reads, from routes: pure.

Replicas are written into their cluster instead of into endpoint files of their own, because Envoy
takes one inotify instance for every file it watches and aborts when the user's are used up: 128 by
default on Linux, which would be the end of the gateway at some hundred services.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Sequence
from typing import Any

from modelyard.domain.endpoint import Route, Share, Target
from modelyard.domain.limits import Limits
from modelyard.gateway.base import Certificate
from modelyard.gateway.envoy import copies, doors, limiting, second_doors
from modelyard.gateway.envoy.holding import held_by
from modelyard.gateway.envoy.layout import Layout
from modelyard.gateway.envoy.listener import Scripts
from modelyard.gateway.envoy.second_doors import second
from modelyard.gateway.envoy.statistics import METADATA, PREFIX, REVISION
from modelyard.gateway.envoy.table import CONTROL_PLANE, route_table

Json = dict[str, Any]

_TYPES = "type.googleapis.com/envoy"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP1: Json = {"http_protocol_options": {}}
_AS_CLIENTS: Json = {"use_downstream_protocol_config": {**_HTTP1, "http2_protocol_options": {}}}
"""Replicas are spoken to in the protocol of the client: gRPC is HTTP/2 all the way."""
_BY_NAME: Json = {"type": "STRICT_DNS", "dns_lookup_family": "V4_PREFERRED", "dns_refresh_rate": "5s"}
"""The control plane's name, which may come to mean another address."""
_HTTP2: Json = {"http2_protocol_options": {}}
_STATISTICS = (
    rf"^({PREFIX}\..*"
    r"|(cluster_manager\.cds|listener_manager\.lds|http\.front\.rds\.[a-z]+|.*sds\.[a-z]+)"
    r"\.(version_text|update_rejected)"
    rf"|listener_manager\.total_listeners_warming|http\.front\.downstream_rq_active|{copies.STATISTICS})$"
)


def bootstrap(layout: Layout) -> Json:
    """What Envoy reads at its start: where to look for the rest, and its admin socket."""
    return {
        "node": {"id": "modelyard", "cluster": "modelyard"},
        "admin": {"address": {"pipe": {"path": str(layout.admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "cds_config": doors.watched(layout.clusters),
            "lds_config": doors.watched(layout.listeners),
        },
        "stats_config": {
            "use_all_default_tags": False,
            "stats_matcher": {"inclusion_list": {"patterns": [{"safe_regex": {"regex": _STATISTICS}}]}},
        },
        "stats_flush_interval": "1s",
        "stats_eviction_interval": "3600s",
    }


def listeners(layout: Layout, scripts: Scripts, ports: Iterable[int] = ()) -> Json:
    """The front door, the services' own `ports`, and where copies of requests come by."""
    mirror = copies.listener(str(layout.copies_socket))
    opened = [*doors.listeners(layout, scripts, ports), mirror]
    return document(f"{_TYPES}.config.listener.v3.Listener", opened)


def certificate(name: str, shown: Certificate) -> Json:
    """What the HTTPS port proves itself with, under this name."""
    chain, key = ({"inline_string": text} for text in (shown.chain, shown.key))
    secret = {"name": name, "tls_certificate": {"certificate_chain": chain, "private_key": key}}
    return document(f"{_TYPES}.extensions.transport_sockets.tls.v3.Secret", [secret])


def clusters(routes: Iterable[Route], layout: Layout) -> Json:
    """One cluster for each share of a route, though several name it; the control plane's; those of copies."""
    present = unique(routes)
    control_plane = _cluster(
        CONTROL_PLANE, [_endpoint("", layout.api, 1)], "3s", {"explicit_http_config": _HTTP1}
    )
    if not _is_number(layout.api):
        control_plane |= _BY_NAME
    seconds = (second(route) for route in present if layout.door.second_port or len(route.ports) > 1)
    shares = {share.name: share for route in (*present, *seconds) for share in route.everywhere}
    mirrored = [_copies(name, layout, calls=calls) for name, calls in copies.ways(present)]
    services = [_service(share, layout) for share in shares.values()]
    return document(f"{_TYPES}.config.cluster.v3.Cluster", [control_plane, *services, *mirrored])


def table(routes: Iterable[Route], layout: Layout) -> Json:
    """Hosts, paths and keys of every route."""
    return _table(route_table(unique(routes), name="front", domain=layout.domain, version=layout.version))


def ports_table(routes: Iterable[Route]) -> Json:
    """Where each of the routes' own ports leads."""
    return _table(second_doors.own_ports(unique(routes), name="ports"))


def second_table(routes: Iterable[Route], layout: Layout) -> Json:
    """Hosts and paths at the second port."""
    return _table(second_doors.second_port(unique(routes), name="second", domain=layout.domain))


def _table(rendered: Json) -> Json:
    return document(f"{_TYPES}.config.route.v3.RouteConfiguration", [rendered])


def unique(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The routes sorted by name; of several with one name the last counts."""
    return tuple(sorted({r.name: r for r in routes}.values(), key=lambda r: r.name))


def document(type_url: str, resources: Sequence[Json]) -> Json:
    """A discovery response whose version is the checksum of what it carries."""
    typed = [{"@type": type_url, **r} for r in sorted(resources, key=lambda r: str(r["name"]))]
    digest = hashlib.sha256(json.dumps(typed, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "type_url": type_url, "resources": typed}


def _service(share: Share, layout: Layout) -> Json:
    """The share's replicas; in their place who holds requests, while there are none and one may come.

    The gateway looks a cluster up anew for each try, so that a request which is sent back from there goes to
    the replicas that the cluster has by then.
    """
    endpoints = _endpoints(share.targets)
    if share.waking and not endpoints:
        here = [_endpoint("", f"unix:{layout.hold_socket}", 1)]
        return _cluster(share.name, here, "30s", held_by(share, share.waking))
    cluster = _cluster(share.name, endpoints, "30s", _AS_CLIENTS)
    cluster["circuit_breakers"] = {"thresholds": [limiting.thresholds(share.limits)]}
    return cluster | limiting.breaking(share.limits)


def _copies(name: str, layout: Layout, *, calls: bool) -> Json:
    """A copy has no protocol of its client's own: calls need HTTP/2, and others do with HTTP/1.1."""
    here = [_endpoint("", f"unix:{layout.copies_socket}", 1)]
    cluster = _cluster(name, here, "30s", {"explicit_http_config": _HTTP2 if calls else _HTTP1})
    cluster["circuit_breakers"] = {"thresholds": [copies.thresholds()]}
    return cluster


def _cluster(name: str, endpoints: Sequence[Json], idle: str, protocol: Json) -> Json:
    # `idle` stays below the time after which the other side closes a connection that rests, or
    # else a request could meet a connection that is just being closed.
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [limiting.thresholds(Limits())]},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": idle},
                **protocol,
            }
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": list(endpoints)}]},
    }


def _endpoints(targets: Sequence[Target]) -> list[Json]:
    by_address = {t.address: t for t in targets if t.weight > 0}
    return [_replica(address, target) for address, target in sorted(by_address.items())]


def _replica(address: str, target: Target) -> Json:
    endpoint = _endpoint(target.replica, address, target.weight)
    # Answers are counted by what their replica says here.
    endpoint["metadata"] = {"filter_metadata": {METADATA: {REVISION: target.revision}}}
    return endpoint


def _endpoint(replica: str, address: str, weight: int) -> Json:
    # The hostname is what tells which replica an address belongs to when Envoy is asked.
    endpoint = {"hostname": replica, "address": _address(address)}
    return {"endpoint": endpoint, "load_balancing_weight": {"value": weight}}


def _is_number(address: str) -> bool:
    """Whether an address needs no name to be looked up."""
    if address.startswith("unix:"):
        return True
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


def _address(address: str) -> Json:
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:")}}
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}
