"""Every listener: the front door with its TLS and second port, and the ports of single services: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from modelyard.gateway.envoy.forwarding import without_token
from modelyard.gateway.envoy.layout import Layout
from modelyard.gateway.envoy.listener import Scripts, listener, manager
from modelyard.gateway.envoy.second_doors import PORT_HEADER
from modelyard.gateway.envoy.table import health

Json = dict[str, Any]

_OWN = "port-"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def listeners(layout: Layout, scripts: Scripts, ports: Iterable[int]) -> list[Json]:
    """The front door as the layout says, and one for each of the services' own `ports`."""
    return [*_front(layout, scripts), *(_own_port(layout, scripts, port) for port in ports)]


def own_ports(document: Json | None) -> frozenset[int]:
    """The services' own ports in a document of listeners."""
    names = [resource["name"] for resource in (document or {}).get("resources", [])]
    return frozenset(int(name.removeprefix(_OWN)) for name in names if name.startswith(_OWN))


def door_ports(document: Json | None) -> frozenset[tuple[str, int]]:
    """Address and port of everything in a document of listeners."""
    addresses = [resource["address"] for resource in (document or {}).get("resources", [])]
    sockets = [each["socket_address"] for each in addresses if "socket_address" in each]
    return frozenset((socket["address"], socket["port_value"]) for socket in sockets)


def watched(path: Path) -> Json:
    """A configuration source: a file that is replaced by renaming another over it."""
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _front(layout: Layout, scripts: Scripts) -> Iterator[Json]:
    door = layout.door
    front = manager(_told_by(layout.routes, "front"), scripts)
    plain = front
    if door.redirect:
        plain = manager({"route_config": _elsewhere(door.redirect_port or door.https_port)}, scripts)
    yield listener("front", (door.host, door.port), plain)
    if door.https_port:
        yield listener("secure", (door.host, door.https_port), front, tls=_tls(layout))
    if door.second_port:
        second = manager(_told_by(layout.second, "second"), scripts)
        yield listener("second", (door.host, door.second_port), second)


def _own_port(layout: Layout, scripts: Scripts, port: int) -> Json:
    # All ports share one table, as Envoy takes an inotify instance for every file it watches.
    mark = {
        "header": {"key": PORT_HEADER, "value": str(port)},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    marked = manager(_told_by(layout.ports, "ports"), scripts, mark=mark)
    return listener(f"{_OWN}{port}", (layout.door.host, port), marked)


def _told_by(path: Path, name: str) -> Json:
    return {"rds": {"route_config_name": name, "config_source": watched(path)}}


def _tls(layout: Layout) -> Json:
    # Envoy chooses by the host that the client calls, and takes the first where none names it.
    files = (layout.certificate, layout.beside)
    secrets = [{"name": path.stem, "sds_config": watched(path)} for path in files]
    context = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": secrets,
    }
    typed = {"@type": _TLS, "common_tls_context": context}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def _elsewhere(https_port: int) -> Json:
    """Everybody is sent to the HTTPS port, with method and body; who asks after health is answered here."""
    redirect = {"https_redirect": True, "port_redirect": https_port, "response_code": "PERMANENT_REDIRECT"}
    sent = {"match": {"prefix": "/"}, "redirect": redirect, "typed_per_filter_config": without_token()}
    routes = [*health(), sent]
    return {"name": "redirect", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
