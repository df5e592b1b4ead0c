"""What every verb and reconciler works with: the rooms below, the clock, identities and a few values."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from modelyard.artifacts import Artifacts, NoSources, Sources
from modelyard.backends.base import Backend, Environments
from modelyard.control.carried import Carried
from modelyard.control.line import Line
from modelyard.control.opened import Shells
from modelyard.control.sites import Sites
from modelyard.domain.deployment import Key
from modelyard.domain.ports import Range
from modelyard.gateway.base import Door, Gateway
from modelyard.store import Database

Hint = Callable[[str, str], None]


class Hints:
    """Carries hints from verbs to whoever listens, such as the loop of this process."""

    def __init__(self) -> None:
        self._listeners: list[Hint] = []

    def listen(self, listener: Hint) -> None:
        """Call `listener` with the kind and key of every hint from now on."""
        self._listeners.append(listener)

    def ignore(self, listener: Hint) -> None:
        """Stop calling `listener`."""
        self._listeners.remove(listener)

    def give(self, kind: str, key: str) -> None:
        """Tell all listeners that something may have changed."""
        for listener in self._listeners:
            listener(kind, key)


class News:
    """Carries what a backend notices by itself to whoever records it; the newest, when nobody does."""

    def __init__(self, most: int = 1000) -> None:
        self._waiting: deque[tuple[Key, str, str]] = deque(maxlen=most)
        self._came = asyncio.Event()

    def tell(self, key: Key, reason: str, message: str) -> None:
        """Something happened to a deployment's replicas that is worth an event."""
        self._waiting.append((key, reason, message))
        self._came.set()

    async def taken(self) -> list[tuple[Key, str, str]]:
        """Everything that was told since, once there is something."""
        await self._came.wait()
        self._came.clear()
        found = list(self._waiting)
        self._waiting.clear()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How the HTTPS port proves itself."""

    directory: Path
    """Of the authority and of certificates; private."""
    name: str = ""
    """Of this machine, so that clients can tell authorities apart."""
    certificate: str = ""
    """File that the settings name; empty when they name none."""
    key: str = ""
    hosts: tuple[str, ...] = ()
    """Names and addresses of the front door itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The rooms and values that the control plane is composed of."""

    database: Database
    artifacts: Artifacts
    backend: Backend
    environments: Environments
    gateway: Gateway
    clock: Callable[[], float]
    """Seconds since the epoch."""
    new_id: Callable[[], str]
    """A short identity that is never given twice, for tokens' names and leases."""
    random_token: Callable[[], str]
    """A URL-safe secret of 256 random bits, 43 characters long."""
    master_key: bytes
    """Derives the services' tokens; whoever has it can call every service."""
    domain: str = "localhost"
    public_url: str = "http://127.0.0.1:8080"
    """Address of the front door, without a slash at its end."""
    door: Door = field(default_factory=Door)
    """Where the front door listens."""
    shown: Door | None = None
    """The front door as clients outside find it, where that is by other ports."""
    sites: Sites = field(default_factory=Sites)
    tls: Tls | None = None
    """None without an HTTPS port."""
    port_range: Range = field(default_factory=Range)
    """From where services get ports of their own."""
    version: str = ""
    backend_name: str = "local"
    cluster: Callable[[], Mapping[str, str]] = dict
    """What is known of the cluster: its version, and whether it answers; empty without one."""
    identity: str = "control"
    """Tells this control plane from others on the same database."""
    test_timeout_seconds: float = 120.0
    """How long validation or a test of a model may take."""
    session_seconds: float = 12 * 3600.0
    link_seconds: float = 600.0
    time_zone: str = ""
    """Of the hours at which services scale; empty is the machine's."""
    rest_seconds: float = 300.0
    """How long a deployment at rest goes without a full look; watching notices changes long before."""
    hints: Hints = field(default_factory=Hints)
    news: News = field(default_factory=News)
    shells: Shells = field(default_factory=Shells)
    """Open in this control plane, and ended with it."""
    sources: Sources = field(default_factory=NoSources)
    """From where models are published without an upload."""
    carried: Carried = field(default_factory=Carried)
    """To pods and from tasks."""
    line: Line = field(default_factory=Line)
    """Tasks that run and that wait."""
    task_places: int = 0
    """How many run at once; 0 is one for each core of nodes for computing."""
    queue_seconds: float = 300.0
    """How long a request waits for its turn."""

    @property
    def outside(self) -> Door:
        """The front door as clients find it."""
        return self.shown or self.door

    def hint(self, kind: str, key: str) -> None:
        """Something may have changed for this key; cuts the wait, and losing it loses nothing."""
        self.hints.give(kind, key)

    def at(self) -> datetime:
        """Now, as records keep it."""
        return datetime.fromtimestamp(self.clock(), UTC)
