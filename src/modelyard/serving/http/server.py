"""Listens, keeps the connections, sweeps out the slow ones, drains."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Protocol

from modelyard.serving.errors import Problem
from modelyard.serving.http.connection import Connection
from modelyard.serving.http.messages import Application, Exchange, Response
from modelyard.serving.http.shortcuts import Planner, Shortcuts, no_plan

MOST_CONNECTIONS = 4096
BACKLOG = 1024
SWEEP_SECONDS = 0.5
QUIET_SECONDS = 0.3
"""A draining server closes connections on which nothing has come for so long."""


class Client(Protocol):
    """A connection, whatever it speaks."""

    @property
    def deadline(self) -> float:
        """When `cut` is due, on the loop's clock."""

    @property
    def busy(self) -> bool:
        """Whether something is under way on it."""

    @property
    def is_ending(self) -> bool:
        """Whether its last answer is written."""

    def retire(self, *, quiet_since: float) -> None:
        """Close if nothing is under way and nothing was since that time."""

    def cut(self) -> None:
        """Give up on a client that is too slow."""

    def abort(self) -> None:
        """Close at once."""


Accept = Callable[["Server", asyncio.AbstractEventLoop], asyncio.Protocol]
"""Makes what takes a new connection."""


class Server:
    """The listening side of a front."""

    def __init__(
        self,
        application: Application,
        refuse: Callable[[Problem, Exchange], Response],
        *,
        max_body_bytes: int,
        idle_seconds: float,
        accept: Accept | None = None,
        planner: Planner = no_plan,
    ) -> None:
        self._accept: Accept = accept or Connection
        self.application = application
        self.refuse = refuse
        self.max_body_bytes = max_body_bytes
        self.idle_seconds = idle_seconds
        self.draining = False
        self.shortcuts = Shortcuts(planner, max_body_bytes)
        self._set_date()
        self._connections: set[Client] = set()
        self._listener: asyncio.Server | None = None
        self._path: Path | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def listen(self, address: str) -> str:
        """Listen on `unix:/path` or `ip:port`; returns the address with the port that was given.

        Raises OSError when the address is in use or not ours to use.
        """
        loop = asyncio.get_running_loop()
        sock = _bound(address)
        self._listener = await loop.create_server(
            lambda: self._accept(self, loop), sock=sock, backlog=BACKLOG
        )
        self._sweep()
        if address.startswith("unix:"):
            self._path = Path(address.removeprefix("unix:"))
            return address
        host, port = sock.getsockname()[:2]
        return f"{host}:{port}"

    async def drain(self, seconds: float) -> None:
        """Answer everything that has come and still comes, with `Connection: close`; then stop listening.

        Ends when nothing is under way, at the latest after `seconds`.
        """
        self.draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        if self._path is not None:
            # No new client finds us; those that have connected already are still accepted below.
            self._path.unlink(missing_ok=True)
        await asyncio.sleep(min(QUIET_SECONDS, seconds))
        self._stop_listening()
        while loop.time() < end:
            for connection in list(self._connections):
                connection.retire(quiet_since=loop.time() - QUIET_SECONDS)
            if all(connection.is_ending and not connection.busy for connection in self._connections):
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.01)

    def close(self) -> None:
        """Close what is still open."""
        self._stop_listening()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._connections):
            connection.abort()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def opened(self, connection: Client) -> bool:
        """A connection begins; False when there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= MOST_CONNECTIONS

    def closed(self, connection: Client) -> None:
        """A connection is gone."""
        self._connections.discard(connection)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _set_date(self) -> None:
        self.date = formatdate(time.time(), usegmt=True).encode()
        self.date_line = b"Date: %b\r\n\r\n" % self.date

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._set_date()
        now = loop.time()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.cut()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)


def _bound(address: str) -> socket.socket:
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        _clear(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(path)
        os.chmod(path, 0o600)
    else:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
    sock.setblocking(False)
    return sock


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on any more; raises OSError when somebody does."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
