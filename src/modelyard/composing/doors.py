"""Settings of the front door, as the rooms want them."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from modelyard import settings
from modelyard.control.platform import Tls
from modelyard.domain import hosts
from modelyard.domain.address import Site, require_external
from modelyard.domain.errors import Invalid
from modelyard.domain.ports import Range
from modelyard.gateway.base import Door

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
    )


def site(chosen: settings.Settings) -> Site:
    """What services are called by. Raises Invalid for a domain or an address that is none."""
    hosts.require_domain(chosen.server.domain, "server.domain")
    require_external(chosen.gateway.external_ip, "gateway.external_ip")
    return Site(domain=chosen.server.domain, external_ip=chosen.gateway.external_ip)


def tls(home: Path, chosen: settings.Settings) -> Tls | None:
    """How the HTTPS port proves itself; None without one. Raises Invalid for half a certificate."""
    server, where = chosen.server, site(chosen)
    if bool(server.certificate) != bool(server.key):
        raise Invalid("server.certificate and server.key belong together: give both, or neither")
    if not server.https_port:
        return None
    machine = os.uname().nodename.lower()
    own = {server.domain, f"*.service.{server.domain}", "localhost", machine, "127.0.0.1", "::1"}
    given = {server.host, *where.external_ip.split("|")} - {"", *_EVERYWHERE}
    return Tls(
        directory=home / "tls",
        name=machine,
        certificate=server.certificate,
        key=server.key,
        hosts=tuple(sorted(own | given)),
    )


def port_range(gateway: settings.Gateway) -> Range:
    """Which ports services may get. Raises Invalid."""
    parts = [part.strip() for part in gateway.refused_ports.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise Invalid(f"gateway.refused_ports must be ports with commas, got {gateway.refused_ports[:70]!r}")
    refused = frozenset(map(int, parts))
    return Range(base=gateway.port_base, count=gateway.port_count, refused=refused)


def public_url(server: settings.Server) -> str:
    """Address of the front door for browsers, without a slash at its end. Raises Invalid."""
    if server.public_url:
        if not server.public_url.startswith(("http://", "https://")):
            raise Invalid(
                f"server.public_url must begin with http:// or https://, got {server.public_url[:70]!r}"
            )
        return server.public_url.rstrip("/")
    if server.redirect_to_https:
        return url("https", server.host, server.https_port)
    return url("http", server.host, server.port)


def url(scheme: str, host: str, port: int) -> str:
    """An address of this machine."""
    reached = "127.0.0.1" if host in _EVERYWHERE else host
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
