"""A programme as the files that Envoy watches: pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.cluster.dataplane.reading import REFUSED, Programme

Json = dict[str, Any]
_API = "type.googleapis.com/envoy"
_MANAGER = f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS = f"{_API}.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_PROTOCOLS = f"{_API}.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(directory: Path) -> Json:
    """What Envoy reads once."""
    return {
        "node": {"id": "data-plane", "cluster": "data-plane"},
        "admin": {"address": {"pipe": {"path": str(directory / "admin.sock")}}},
        "dynamic_resources": {
            "lds_config": _watched(directory / "listeners.json"),
            "cds_config": _watched(directory / "clusters.json"),
        },
        "static_resources": {"listeners": [_refusing(directory)], "clusters": [_to_refusal(directory)]},
    }


def listeners(programme: Programme, directory: Path) -> list[Json]:
    """One for each address and port."""
    return [
        _listener(name, _manager(name, directory), found["certificates"])
        for name, found in sorted(programme.listeners.items())
    ]


def hosts(name: str, programme: Programme) -> list[Json]:
    """The route configuration of a listener; an unknown host answers 404."""
    return [
        {
            "@type": f"{_API}.config.route.v3.RouteConfiguration",
            "name": name,
            # `Host` may have the port, which says nothing about whose it is.
            "ignore_port_in_host_matching": True,
            "virtual_hosts": programme.hosts[name],
        }
    ]


def clusters(names: Iterable[str], directory: Path) -> list[Json]:
    """Clusters whose endpoints are in files of their own."""
    return [_cluster(name, directory) for name in sorted(names) if name != REFUSED]


def endpoints(name: str, addresses: Iterable[str]) -> list[Json]:
    """Where a cluster's requests go."""
    found = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
        for host, _, port in (address.rpartition(":") for address in addresses)
    ]
    return [
        {
            "@type": f"{_API}.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": found}],
        }
    ]


def file_of(kind: str, name: str) -> str:
    """The file's name for a listener's hosts or a cluster's endpoints."""
    return f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def versioned(resources: list[Json]) -> Json:
    """A discovery response, whose version is a digest of what it says."""
    text = json.dumps(resources, sort_keys=True)
    return {"version_info": hashlib.sha256(text.encode()).hexdigest()[:16], "resources": resources}


def _watched(path: Path) -> Json:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _manager(name: str, directory: Path) -> Json:
    return {
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        "rds": {"route_config_name": name, "config_source": _watched(directory / file_of("hosts", name))},
        "stream_idle_timeout": "0s",
        "use_remote_address": True,
        "http_filters": [_router()],
    }


def _router() -> Json:
    router = {"@type": f"{_API}.extensions.filters.http.router.v3.Router"}
    return {"name": "envoy.filters.http.router", "typed_config": router}


def _listener(name: str, manager: Json, certificates: list[Json]) -> Json:
    host, _, port = name.rpartition(":")
    chain: Json = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {"@type": _MANAGER, **manager},
            }
        ]
    }
    if certificates:
        tls = {"tls_certificates": certificates, "alpn_protocols": ["h2", "http/1.1"]}
        config = {"@type": _TLS, "common_tls_context": tls}
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": config}
    return {
        "@type": f"{_API}.config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": host, "port_value": int(port)}},
        "enable_reuse_port": False,
        "filter_chains": [chain],
    }


def _cluster(name: str, directory: Path) -> Json:
    found: Json = {
        "@type": f"{_API}.config.cluster.v3.Cluster",
        "name": name,
        "type": "EDS",
        "connect_timeout": "2s",
        "eds_cluster_config": {"eds_config": _watched(directory / file_of("endpoints", name))},
    }
    if name.startswith("h2"):
        http = {"@type": _PROTOCOLS, "explicit_http_config": {"http2_protocol_options": {}}}
        found["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http
        }
    return found


def _refusing(directory: Path) -> Json:
    """Where requests for back ends go that are none: the Gateway API says that these answer 500."""
    answer = {"status": 500, "body": {"inline_string": "the back end is not valid"}}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
    }
    manager = {
        "stat_prefix": "refused",
        "codec_type": "AUTO",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [_router()],
    }
    listener = _listener("127.0.0.1:1", manager, [])
    del listener["@type"], listener["enable_reuse_port"]
    return {**listener, "name": REFUSED, "address": {"pipe": {"path": str(directory / "refused.sock")}}}


def _to_refusal(directory: Path) -> Json:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(directory / "refused.sock")}}}}
    assignment = {"cluster_name": REFUSED, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": REFUSED, "type": "STATIC", "load_assignment": assignment}
