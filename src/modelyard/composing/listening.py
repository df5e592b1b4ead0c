"""Where the API listens: a socket of this machine, and in a cluster a port for pods and routers too."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from modelyard.domain.errors import Unavailable

_BACKLOG = 2048


def server(app: ASGIApp) -> uvicorn.Server:
    """The API's server, which leaves signals to the platform."""
    return _Quiet(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))


@contextlib.contextmanager
def sockets(path: Path, host: str, port: int) -> Iterator[list[socket.socket]]:
    """The socket at `path`, and with a port that one too. Raises Unavailable when the port is taken."""
    with contextlib.ExitStack() as stack:
        path.unlink(missing_ok=True)
        own = stack.enter_context(socket.socket(socket.AF_UNIX))
        own.bind(str(path))
        path.chmod(0o600)
        own.listen(_BACKLOG)
        opened = [own]
        if port:
            opened.append(stack.enter_context(_at(host, port)))
        yield opened


def _at(host: str, port: int) -> socket.socket:
    both = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=both, backlog=_BACKLOG)
    except OSError as error:
        raise Unavailable(
            f"kubernetes.api_port: port {port} cannot be opened: {error.strerror or error}"
        ) from None


class _Quiet(uvicorn.Server):
    """A uvicorn that leaves signals to the platform."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
