"""Whether the front door's port can be had, and who has it otherwise."""

from __future__ import annotations

import errno
import socket

import psutil

from modelyard.domain.deployment import Failure
from modelyard.gateway.base import Door

_REASONS = {
    errno.EACCES: ("PermissionDenied", "needs more rights; choose a port above 1023 with --port"),
    errno.EADDRNOTAVAIL: ("GatewayUnavailable", "is not an address of this machine; choose another --host"),
}


def problem(door: Door) -> Failure | None:
    """Why nothing could listen at `door` now; None when it could."""
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((door.host, door.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return in_use(door)
        unknown = ("GatewayUnavailable", f"cannot be opened: {error.strerror}")
        reason, text = _REASONS.get(error.errno or 0, unknown)
        return Failure(reason=reason, message=f"{door.host}:{door.port} {text}")
    return None


def in_use(door: Door) -> Failure:
    """The failure that names the port and, if it may be known, the process that holds it."""
    holder = _holder(door.port)
    by = f" by {holder}" if holder else ""
    return Failure(
        reason="GatewayPortInUse",
        message=f"port {door.port} of {door.host} is in use{by}; end it, or choose another --port",
    )


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
