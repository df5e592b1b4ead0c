"""Where one gateway keeps its files and sockets, and what it was told once."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from modelyard.domain.errors import FieldError, Invalid
from modelyard.gateway.base import Door

UNIX = "unix:"
"""What the address of a socket of this machine begins with."""
LONGEST_SOCKET_PATH = 99
"""Bytes; the kernel takes 107, and Envoy and others want room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Everything about one Envoy that does not change while it runs."""

    directory: Path
    """Configuration, log and the record of the running process."""
    admin_socket: Path
    copies_socket: Path
    """Where copies of requests come by, from the gateway itself."""
    api: str
    """Where the control plane listens: `unix:PATH`, or `HOST:PORT` where it is another machine's."""
    hold_socket: Path
    """Where requests for services that sleep go."""
    wake_socket: Path
    """Where it is told for whom they are."""
    door: Door
    domain: str
    version: str
    """Of the platform, as `GET /v2` tells it."""

    @property
    def bootstrap(self) -> Path:
        """What Envoy reads once, at its start."""
        return self.directory / "bootstrap.json"

    @property
    def listeners(self) -> Path:
        """The front door; watched."""
        return self.directory / "listeners.json"

    @property
    def clusters(self) -> Path:
        """Every service with its replicas; watched."""
        return self.directory / "clusters.json"

    @property
    def routes(self) -> Path:
        """Hosts, paths and keys; watched."""
        return self.directory / "routes.json"

    @property
    def ports(self) -> Path:
        """Where the services' own ports lead; watched."""
        return self.directory / "ports.json"

    @property
    def second(self) -> Path:
        """Hosts and paths at the second port; watched."""
        return self.directory / "second.json"

    @property
    def certificate(self) -> Path:
        """Chain and private key of the HTTPS port; watched."""
        return self.directory / "certificate.json"

    @property
    def beside(self) -> Path:
        """The same for hosts that the first certificate does not name; watched."""
        return self.directory / "beside.json"

    @property
    def log(self) -> Path:
        """Warnings and errors of Envoy."""
        return self.directory / "envoy.log"

    @property
    def record(self) -> Path:
        """Which process runs, so that a restarted control plane adopts it."""
        return self.directory / "process.json"


def layout(directory: Path, sockets: Path, *, door: Door, api: str, domain: str, version: str) -> Layout:
    """The layout below `directory` and `sockets`; raises Invalid for a path or host that cannot work."""
    directory = directory.absolute()
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:8]
    admin_socket = sockets.absolute() / f"envoy-{digest}.sock"
    copies_socket, hold_socket, wake_socket = (
        sockets.absolute() / f"{name}-{digest}.sock" for name in ("copies", "hold", "wake")
    )
    _short("gateway.socket_directory", copies_socket)
    if api.startswith(UNIX):
        _short("gateway.api_socket", Path(api.removeprefix(UNIX)))
    return Layout(
        directory=directory,
        admin_socket=admin_socket,
        copies_socket=copies_socket,
        api=_reached(api),
        hold_socket=hold_socket,
        wake_socket=wake_socket,
        door=_checked(door),
        domain=domain.lower(),
        version=version,
    )


def _reached(api: str) -> str:
    """The control plane's address with an absolute path; raises Invalid for what is no address."""
    if api.startswith(UNIX):
        return f"{UNIX}{Path(api.removeprefix(UNIX)).absolute()}"
    host, _, port = api.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        _refuse(
            "gateway.api", f"must be HOST:PORT, such as modelyard.modelyard-system:8080, got {api[:80]!r}"
        )
    return api


def _short(field: str, path: Path) -> None:
    size = len(str(path).encode())
    if size > LONGEST_SOCKET_PATH:
        message = f"is {size} bytes long, and a Unix socket takes {LONGEST_SOCKET_PATH}; use a shorter one"
        raise Invalid(f"{field}: the path {path} {message}", errors=[FieldError(field, message)])


def _ip(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        message = f"must be an IP address such as 127.0.0.1, got {host}"
        raise Invalid(f"server.host {message}", errors=[FieldError("server.host", message)]) from None


def _checked(door: Door) -> Door:
    """The door with its address as a number; raises Invalid for ports that cannot be."""
    fields = {"server.port": door.port}
    fields |= {"server.https_port": door.https_port} if door.https_port else {}
    fields |= {"gateway.second_port": door.second_port} if door.second_port else {}
    for field, port in fields.items():
        if not 1 <= port <= 65_535:
            _refuse(field, f"must be between 1 and 65535, got {port}")
        if list(fields.values()).count(port) > 1:
            _refuse(field, f"must be another port than the front door's other ones, got {port} twice")
    if door.redirect and not door.https_port:
        _refuse("server.redirect_to_https", "needs server.https_port")
    return replace(door, host=_ip(door.host))


def _refuse(field: str, message: str) -> NoReturn:
    raise Invalid(f"{field} {message}", errors=[FieldError(field, message)])
