"""Whether a port can be had, and who has it otherwise."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import psutil

from modelyard.domain.deployment import Failure
from modelyard.gateway.base import Door

_REMEDY = "choose another --port"
_REASONS = {
    errno.EACCES: ("PermissionDenied", "needs more rights; choose a port above 1023 with --port"),
    errno.EADDRNOTAVAIL: ("GatewayUnavailable", "is not an address of this machine; choose another --host"),
}
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENS = "0A"


def problem(door: Door) -> Failure | None:
    """Why nothing could listen at one of the door's ports now; None when it could at all."""
    found = (problem_at(door.host, port) for port in door.ports)
    return next((failure for failure in found if failure is not None), None)


def problem_at(host: str, port: int, *, remedy: str = _REMEDY) -> Failure | None:
    """Why nothing could listen at this IP address and port now; None when it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return in_use(host, port, remedy=remedy)
        unknown = ("GatewayUnavailable", f"cannot be opened: {error.strerror}")
        reason, text = _REASONS.get(error.errno or 0, unknown)
        return Failure(reason=reason, message=f"{host}:{port} {text}")
    return None


def in_use(host: str, port: int, *, remedy: str = _REMEDY) -> Failure:
    """The failure that names the port and, if it may be known, the process that holds it."""
    holder = _holder(port)
    by = f" by {holder}" if holder else ""
    return Failure(
        reason="GatewayPortInUse",
        message=f"port {port} of {host} is in use{by}; end it, or {remedy}",
    )


def listening() -> frozenset[int]:
    """Ports of this machine that somebody listens on, at whatever address."""
    found = set()
    for table in _TABLES:
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # a machine without IPv6
        fields = (line.split() for line in lines)
        found |= {int(f[1].rpartition(":")[2], 16) for f in fields if f[3] == _LISTENS}
    return frozenset(found)


def _holder(port: int) -> str:
    try:
        listening = [
            c.pid
            for c in psutil.net_connections(kind="tcp")
            if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port and c.pid
        ]
        return f"process {listening[0]} ({psutil.Process(listening[0]).name()})" if listening else ""
    except (psutil.Error, OSError):
        return ""
