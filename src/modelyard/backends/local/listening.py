"""Where a replica listens: a socket of its own for Modelyard's server, ports of loopback for any other."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from modelyard.domain import health
from modelyard.domain.errors import BackendError
from modelyard.domain.program import Program

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The addresses of one replica."""

    address: str
    ports: Mapping[int, int] = field(default_factory=dict)
    """Port that the server is said to listen on, to the one that it listens on here."""
    second_address: str = ""
    metrics_address: str = ""

    def of(self, port: int) -> str:
        """The address of one of its ports; 0 is where it gets its requests."""
        return f"{HOST}:{self.ports[port]}" if port else self.address


def of_socket(address: str, metrics: str) -> Listening:
    """The addresses of Modelyard's own server, and of the metrics that a model's code may offer beside it."""
    return Listening(address=address, metrics_address=f"http://{HOST}:{metrics}" if metrics else "")


def of_program(program: Program, ports: Mapping[int, int]) -> Listening:
    """The addresses of a server that got these ports."""
    first, *more = program.ports
    port, path = health.target(program.metrics)
    return Listening(
        address=f"{HOST}:{ports[first]}",
        ports=ports,
        second_address=f"{HOST}:{ports[more[0]]}" if more else "",
        metrics_address=f"http://{HOST}:{ports[port or first]}{path}" if path else "",
    )


def allocate(
    program: Program, *, mark: str, taken: Collection[int], bounds: tuple[int, int]
) -> dict[int, int]:
    """A free port of this machine for each port of a server.

    Each replica begins to look somewhere else, so that one which is started anew does not meet what its
    predecessor left. Raises BackendError when there are none left.
    """
    found: dict[int, int] = {}
    lowest, highest = bounds
    free = _free(mark, set(taken), lowest, highest)
    for port in program.every_port:
        try:
            found[port] = next(free)
        except StopIteration:
            message = f"all ports from {lowest} to {highest} are in use; stop other servers"
            raise BackendError(message, retryable=False, reason="PortInUse") from None
    return found


def _free(mark: str, taken: set[int], lowest: int, highest: int) -> Iterator[int]:
    count = highest - lowest + 1
    begin = zlib.crc32(mark.encode()) % count
    for step in range(count):
        port = lowest + (begin + step) % count
        if port not in taken and _can_be_had(port):
            yield port


def _can_be_had(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
