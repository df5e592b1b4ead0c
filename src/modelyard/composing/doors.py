"""Settings of the front door, as the rooms want them."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from modelyard import settings
from modelyard.control.platform import Tls
from modelyard.domain import hosts
from modelyard.domain.address import Site, require_external
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.ports import Range
from modelyard.gateway.base import Door

_BASE, _LEAST = 30_000, 1024
"""Where services' own ports begin unless settings say, and the least where they can."""
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def door(chosen: settings.Settings) -> Door:
    """Where the gateway listens for clients."""
    server = chosen.server
    return Door(
        host=server.host,
        port=server.port,
        https_port=server.https_port,
        second_port=chosen.gateway.second_port,
        redirect=server.redirect_to_https,
        redirect_port=chosen.kubernetes.shown_https_port,
    )


def shown(chosen: settings.Settings) -> Door | None:
    """The front door as clients outside a cluster find it; None where that is as it listens."""
    told, here = chosen.kubernetes, door(chosen)
    if not in_pods(chosen) or not (told.shown_port or told.shown_https_port or told.shown_second_port):
        return None
    return replace(
        here,
        port=told.shown_port or here.port,
        https_port=here.https_port and (told.shown_https_port or here.https_port),
        second_port=here.second_port and (told.shown_second_port or here.second_port),
    )


def site(chosen: settings.Settings, *, machine: str = "") -> Site:
    """What services are called by; at `machine` unless settings say. Raises Invalid."""
    hosts.require_domain(chosen.server.domain, "server.domain")
    require_external(chosen.gateway.external_ip, "gateway.external_ip")
    return Site(domain=chosen.server.domain, external_ip=chosen.gateway.external_ip or machine)


def tls(home: Path, chosen: settings.Settings, *, machines: Iterable[str] = ()) -> Tls | None:
    """How the HTTPS port proves itself, at these addresses too; None without one.

    Raises Invalid for half a certificate.
    """
    server, where = chosen.server, site(chosen)
    if bool(server.certificate) != bool(server.key):
        raise Invalid("server.certificate and server.key belong together: give both, or neither")
    if not server.https_port:
        return None
    # Nobody calls a pod by its name, and the next one has another.
    machine = "" if in_pods(chosen) else os.uname().nodename.lower()
    own = {server.domain, f"*.service.{server.domain}", "localhost", "127.0.0.1", "::1"}
    public = urlsplit(server.public_url).hostname or ""
    found = {machine, public, server.host, *where.external_ip.split("|"), *machines}
    given = found - {"", *_EVERYWHERE}
    return Tls(
        directory=home / "tls",
        name=machine or server.domain,
        certificate=server.certificate,
        key=server.key,
        hosts=tuple(sorted(own | given)),
    )


def in_pods(chosen: settings.Settings) -> bool:
    """Whether who divides requests is in a cluster, where nodes lead to it."""
    wanted = chosen.kubernetes
    return chosen.backend.kind == "kubernetes" and (wanted.routers or bool(wanted.account))


def node_ports(wanted: settings.Kubernetes) -> range:
    """What the cluster opens on its nodes. Raises Invalid."""
    first, _, last = wanted.node_ports.partition("-")
    numbers = [int(each) for each in (first, last) if each.isascii() and each.isdigit()]
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1] <= 65_535:
        said = f"must be FIRST-LAST, such as 30000-32767, got {wanted.node_ports[:40]!r}"
        _refuse("kubernetes.node_ports", said)
    return range(numbers[0], numbers[1] + 1)


def port_range(chosen: settings.Settings) -> Range:
    """Which ports services may get: in a cluster, of those that nodes open. Raises Invalid."""
    gateway, refused = chosen.gateway, _refused(chosen.gateway)
    if not in_pods(chosen):
        return Range(base=gateway.port_base or _BASE, count=gateway.port_count, refused=refused)
    nodes = node_ports(chosen.kubernetes)
    # Where nodes open the usual ports, services have always got theirs from the same one on.
    base = gateway.port_base or (_BASE if _BASE in nodes else max(nodes.start, _LEAST))
    if base not in nodes:
        _refuse(
            "gateway.port_base",
            f"{base} is not in the cluster's range of node ports, {chosen.kubernetes.node_ports}: "
            "choose one of it, or say the cluster's own range in kubernetes.node_ports",
        )
    return Range(base=base, count=min(gateway.port_count, nodes.stop - base), refused=refused)


def _refused(gateway: settings.Gateway) -> frozenset[int]:
    parts = [part.strip() for part in gateway.refused_ports.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() for part in parts):
        said = f"must be ports with commas, got {gateway.refused_ports[:70]!r}"
        _refuse("gateway.refused_ports", said)
    return frozenset(map(int, parts))


def public_url(server: settings.Server, *, outside: Door | None = None, machine: str = "") -> str:
    """Address of the front door for browsers, without a slash at its end. Raises Invalid."""
    if server.public_url:
        return _require_web(server.public_url, "server.public_url").rstrip("/")
    host = machine if outside and machine else server.host
    if server.redirect_to_https:
        return url("https", host, outside.https_port if outside else server.https_port)
    return url("http", host, outside.port if outside else server.port)


def url(scheme: str, host: str, port: int) -> str:
    """An address of this machine."""
    reached = "127.0.0.1" if host in _EVERYWHERE else host
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


def _require_web(text: str, path: str) -> str:
    """The URL itself, if a browser can open it."""
    if "@" in text:
        _refuse(path, "carries a user or password; leave them out, as everybody can read it")
    if not text.startswith(("http://", "https://")):
        _refuse(path, f"must begin with http:// or https://, got {text[:70]!r}")
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0 and not any(map(str.isspace, text))
    except ValueError:
        usable = False
    if not usable:
        _refuse(path, f"names no host with a port from 1 to 65535 that can be opened, got {text[:70]!r}")
    return text


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
