"""Every URL of a service, as clients are told them: pure."""

from __future__ import annotations

import re
from dataclasses import replace

from modelyard.domain.address import Address, Site
from modelyard.domain.deployment import Key
from modelyard.domain.endpoint import Addresses
from modelyard.gateway.base import Door
from modelyard.gateway.routes import addresses

_IP = re.compile(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def reach(key: Key, address: Address, ports: tuple[int, ...], *, site: Site, door: Door) -> Addresses:
    """All addresses of a service with these ports of its own, through this door."""
    found = addresses(key, domain=site.domain, address=address)
    machine = site.shown or ("127.0.0.1" if door.host in (*_EVERYWHERE, "localhost") else door.host)
    https = f"https://{found.host}:{door.https_port}" if door.https_port else ""
    plain = https if door.redirect else f"http://{found.host}:{door.port}"
    second = f"http://{found.host}:{door.second_port}" if door.second_port else ""
    own = tuple(f"http://{_bracketed(machine)}:{port}" for port in ports[: address.port_count])
    return replace(
        found,
        ports=ports[: address.port_count],
        host_url=plain,
        https_url=https,
        second_url=second,
        port_urls=own,
        link=_link(address, found.host, plain, second or "".join(own[1:2])),
        hosts_line=f"{machine} {found.host}" if _IP.fullmatch(machine) else "",
    )


def _link(address: Address, host: str, base: str, second: str) -> str:
    """What people open: the URL that was written, with the stage's prefix; or the path at the host."""
    wish = address.wish
    if wish.url:
        return wish.url.replace(f"://{wish.domain}", f"://{host}", 1)
    if wish.second:
        return f"{second}{wish.path}" if second else ""
    return f"{base}{wish.path}"


def _bracketed(machine: str) -> str:
    return f"[{machine}]" if ":" in machine else machine
