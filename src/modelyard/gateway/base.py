"""The contract of a gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelyard.domain.deployment import Failure
from modelyard.domain.endpoint import Route
from modelyard.domain.tallies import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What one mirror of a route was sent since the gateway started."""

    route: str
    share: str
    sent: int = 0
    dropped: int = 0
    """Because too many were waiting for its answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the gateway listens for clients."""

    host: str = "127.0.0.1"
    """An IP address, or `localhost`."""
    port: int = 8080


class Gateway(Protocol):
    """A proxy at the door that sends requests to replicas."""

    async def publish(self, routes: Sequence[Route]) -> None:
        """Make these the routes; nothing in flight is lost. Idempotent."""

    async def routed(self) -> frozenset[str]:
        """Names of the replicas that the running gateway may still send requests to.

        Asked of the gateway itself; while it cannot be asked, the last published ones.
        """

    async def statistics(self) -> Reading | None:
        """What it counted since it started; None while it is away."""

    async def copies(self) -> tuple[Copies, ...]:
        """What each mirror was sent, empty while the gateway is away."""

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many requests wait for each service that sleeps."""

    async def asked(self) -> frozenset[str]:
        """Wait until services are asked for that sleep: which. For one caller at a time."""

    async def ensure(self) -> Failure | None:
        """Start the gateway if it does not run, adopt it if it does; why not, if it cannot."""

    async def close(self, *, stop: bool) -> None:
        """Let go of the gateway; with `stop`, end it."""
