"""The contract of a gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelyard.domain.deployment import Failure
from modelyard.domain.endpoint import Route, RoutingView
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
    https_port: int = 0
    """Where the same answers over TLS; 0 means nowhere."""
    second_port: int = 0
    """Where the services' second ports answer, by host and path; 0 means nowhere."""
    redirect: bool = False
    """Send whoever comes to `port` to the HTTPS port."""
    redirect_port: int = 0
    """Where clients find the HTTPS port, when that is another number outside; 0 means the same."""

    @property
    def ports(self) -> tuple[int, ...]:
        """All that it has."""
        return tuple(port for port in (self.port, self.https_port, self.second_port) if port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What the gateway proves itself with."""

    chain: str
    """PEM, the gateway's own certificate first."""
    key: str
    """PEM, without a password."""

    def __repr__(self) -> str:
        return "Certificate(…)"


class Gateway(Protocol):
    """A proxy at the door that sends requests to replicas."""

    async def publish(self, routes: Sequence[Route]) -> None:
        """Make these the routes; nothing in flight is lost. Idempotent."""

    async def present(self, certificate: Certificate, beside: Certificate) -> None:
        """Use these for every TLS connection from now on; those that are open stay. Idempotent.

        `beside` is for clients who call a host that the first does not name; it may be the same one.
        """

    async def busy_ports(self) -> frozenset[int]:
        """Ports of this machine that somebody listens on, be it the gateway itself."""

    def unopened(self) -> Mapping[int, str]:
        """Ports of the published routes that could not be opened, and why; they are tried again."""

    async def routed(self) -> frozenset[str]:
        """Names of the replicas that the running gateway may still send requests to.

        Asked of the gateway itself; while it cannot be asked, the last published ones.
        """

    def pending(self) -> frozenset[str]:
        """Those of the published replicas that nobody may rely on yet, as of the last `routed`.

        Where a gateway of somebody else's is in front, requests may still go by the way before.
        """

    def refused(self) -> Mapping[str, str]:
        """Names of published routes that somebody else's gateway does not take up, and why in its words."""

    async def statistics(self) -> Reading | None:
        """What it counted since it started; None while it is away."""

    async def copies(self) -> tuple[Copies, ...]:
        """What each mirror was sent, empty while the gateway is away."""

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many requests wait for each service that sleeps."""

    async def asked(self) -> frozenset[str]:
        """Wait until services are asked for that sleep: which. For one caller at a time."""

    def members(self) -> Mapping[str, str]:
        """Names of its routers, each with why it does not serve; empty when it is one by itself."""

    def plan(self, route: str) -> tuple[RoutingView, ...]:
        """Who does what of a published route; empty where this gateway does all."""

    async def ensure(self) -> Failure | None:
        """Start the gateway if it does not run, adopt it if it does; why not, if it cannot."""

    async def close(self, *, stop: bool) -> None:
        """Let go of the gateway; with `stop`, end it."""
