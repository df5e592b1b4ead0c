"""What the backend's kind decides about a platform, and what every platform is given."""

from __future__ import annotations

import contextlib
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelyard import __version__, settings
from modelyard.artifacts import Artifacts
from modelyard.artifacts.sources import BucketSources
from modelyard.backends.base import Backend, Environments
from modelyard.composing import doors
from modelyard.composing.outside import Outside
from modelyard.control import installation
from modelyard.control.platform import Hints, News, Platform
from modelyard.control.sites import Sites
from modelyard.gateway.base import Gateway
from modelyard.store import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an installation starts with."""

    home: Path
    chosen: settings.Settings
    environ: Mapping[str, str]
    clock: Callable[[], float]
    api_socket: Path
    identity: str
    """Of this control plane, another one for each that was ever started."""
    installation: str
    """Of all control planes that share a database, for ever."""

    @property
    def master_key(self) -> bytes:
        """Derives every other secret; read when it is needed, as a cluster may have brought it by then."""
        return installation.master_key(self.home)


class Leadership(Protocol):
    """Who of several control planes may write."""

    @property
    def leads(self) -> bool:
        """Whether it is this one, for sure."""

    @property
    def elsewhere(self) -> str:
        """Where another one answers that leads; empty when there is none."""

    async def run(self) -> None:
        """Try to be it until cancelled."""

    def fence(self) -> contextlib.AbstractContextManager[None]:
        """What is begun in here writes to the cluster only while it is this one."""


async def _nothing() -> None:
    """Keeps nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where replicas run, how requests find them, and where files are."""

    name: str
    """The backend's kind."""
    backend: Backend
    environments: Environments
    gateway: Gateway
    artifacts: Artifacts
    outlives: bool = False
    """Whether replicas go on when the platform stops."""
    has_door: bool = True
    """Whether the front door is of this control plane, and not of routers elsewhere."""
    outside: Outside = field(default_factory=Outside)
    """What clients outside reach it by."""
    keep_keys: Callable[[], Awaitable[None]] = _nothing
    """Called once the administrator's token is known."""
    leadership: Leadership | None = None
    """Who may write, where several control planes share a cluster."""
    hints: Hints = field(default_factory=Hints)
    """Given what changes in the world."""
    news: News = field(default_factory=News)
    """Told what the backend notices by itself."""
    describe: Callable[[], Mapping[str, str]] = dict
    """What is known of the cluster, for the status."""


def platform(given: Given, world: World, database: Database) -> Platform:
    """The rooms together."""
    chosen, shown = given.chosen, doors.shown(given.chosen)
    return Platform(
        database=database,
        artifacts=world.artifacts,
        sources=BucketSources(chosen.artifacts, given.environ),
        backend=world.backend,
        environments=world.environments,
        gateway=world.gateway,
        clock=given.clock,
        new_id=lambda: uuid.uuid4().hex[:16],
        random_token=lambda: secrets.token_urlsafe(32),
        master_key=given.master_key,
        domain=chosen.server.domain,
        public_url=doors.public_url(chosen.server, outside=shown, machine=world.outside.door),
        door=doors.door(chosen),
        shown=shown,
        sites=Sites(doors.site(chosen, machine=world.outside.node)),
        tls=doors.tls(given.home, chosen, machines=(world.outside.door, world.outside.node)),
        port_range=doors.port_range(chosen),
        version=__version__,
        identity=given.identity,
        backend_name=world.name,
        cluster=world.describe,
        hints=world.hints,
        news=world.news,
        time_zone=chosen.scaling.time_zone,
        test_timeout_seconds=chosen.limits.test_timeout_seconds,
        task_places=chosen.limits.tasks,
        queue_seconds=chosen.limits.queue_seconds,
    )
