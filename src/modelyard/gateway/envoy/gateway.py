"""Envoy at the front door: a process of its own that goes on while the control plane is away."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelyard.domain.deployment import Failure
from modelyard.domain.endpoint import Route, RoutingView
from modelyard.domain.errors import BackendError, Unavailable
from modelyard.domain.tallies import Reading
from modelyard.gateway.activator.keeper import Keeper, Place
from modelyard.gateway.base import Certificate, Copies, Door
from modelyard.gateway.envoy import copies, files, lifecycle, process, publish, render
from modelyard.gateway.envoy.admin import Admin
from modelyard.gateway.envoy.door import listening
from modelyard.gateway.envoy.layout import UNIX, layout
from modelyard.gateway.envoy.lifecycle import Tuning
from modelyard.gateway.envoy.listener import Scripts
from modelyard.gateway.envoy.opening import Doors
from modelyard.gateway.envoy.statistics import PREFIX, tallies


class EnvoyGateway:
    """The gateway of one platform; its files are complete, so a restarted Envoy needs nobody's help.

    `directory` holds configuration and log, `socket_directory` the admin socket; both stay private
    to their owner. `api` is where the control plane listens, a socket or `HOST:PORT`. Raises Invalid for a
    path too long for a socket and for what is not an address.
    """

    def __init__(
        self,
        *,
        directory: Path,
        socket_directory: Path,
        door: Door,
        api: Path | str,
        domain: str,
        tuning: Tuning | None = None,
    ) -> None:
        version = importlib.metadata.version("modelyard")
        reached = f"{UNIX}{api}" if isinstance(api, Path) else api
        self._layout = layout(
            directory, socket_directory, door=door, api=reached, domain=domain, version=version
        )
        self._tuning = tuning or Tuning()
        self._activator = Keeper(
            Place(
                requests=self._layout.hold_socket,
                reports=self._layout.wake_socket,
                record=self._layout.directory / "activator.json",
                log=self._layout.directory / "activator.log",
            )
        )
        self._admin = Admin(self._layout.admin_socket)
        self._documents = publish.Documents(self._layout)
        self._lock = asyncio.Lock()
        self._doors = Doors(self._layout, Scripts.installed())
        self._bootstrap = render.bootstrap(self._layout)

    async def publish(self, routes: Sequence[Route]) -> None:
        """Make these the routes; nothing in flight is lost. Idempotent.

        Returns when the running Envoy works by them; while none runs, they wait on disk. Raises
        Unavailable when that could not be confirmed.
        """
        async with self._lock:
            await self._hold(routes)
            runs = process.find(self._layout) is not None
            self._doors.want(port for route in routes for port in route.ports)
            wanted = self._documents.of(routes, self._doors.listeners(running=runs))
            if runs:
                await publish.publish(self._layout, self._admin, wanted)
            else:
                publish.write(self._layout, wanted)
            shares = (share for route in routes for share in route.shares if share.targets)
            self._activator.tell(frozenset(share.service for share in shares if share.waking))

    async def present(self, certificate: Certificate, beside: Certificate) -> None:
        """Use these for every TLS connection from now on, by the host that is called; open ones stay.

        Raises as `publish` does.
        """
        async with self._lock:
            files.prepare(self._layout.directory)
            versions = await self._admin.versions() if process.find(self._layout) else {}
            for path, shown in ((self._layout.beside, beside), (self._layout.certificate, certificate)):
                document = render.certificate(path.stem, shown)
                if versions.get(path.stem):
                    await publish.step(self._admin, path, document)
                elif files.version(path) != document["version_info"]:
                    files.replace(path, document)

    async def busy_ports(self) -> frozenset[int]:
        """Ports of this machine that somebody listens on, be it Envoy itself."""
        return await asyncio.to_thread(listening)

    def unopened(self) -> Mapping[int, str]:
        """Services' own ports that could not be opened, and why; `ensure` tries again."""
        return self._doors.unopened

    async def routed(self) -> frozenset[str]:
        """Names of the replicas the running Envoy may choose; of those on disk while it cannot be asked."""
        try:
            return frozenset(await self._admin.hosts())
        except Unavailable:
            return frozenset(files.replicas(files.read(self._layout.clusters)))

    def pending(self) -> frozenset[str]:
        """None: what it works by, it works by at once."""
        return frozenset()

    def refused(self) -> Mapping[str, str]:
        """None: there is no other gateway in front."""
        return {}

    async def statistics(self) -> Reading | None:
        """What was counted since Envoy's start, those turned away included; None while it is away.

        A request in flight counts when it ends; its time follows within a second.
        """
        running = process.find(self._layout)
        if running is None:
            return None
        try:
            counters, bins = await self._admin.numbers(rf"^{PREFIX}\.")
            inflight = await self._admin.active()
        except Unavailable:
            return None
        epoch = f"{running.pid} {running.started}"
        return Reading(epoch=epoch, tallies=tallies(counters, bins), inflight=inflight)

    async def copies(self) -> tuple[Copies, ...]:
        """What each mirror was sent since Envoy's start; empty while it is away."""
        try:
            return copies.counted(await self._admin.stats(f"^{copies.STATISTICS}$"))
        except Unavailable:
            return ()

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many requests wait for each service that sleeps."""
        return self._activator.waiting

    async def asked(self) -> frozenset[str]:
        """Wait until services are asked for that sleep: which."""
        return await self._activator.asked()

    def members(self) -> Mapping[str, str]:
        """It is one by itself."""
        return {}

    def plan(self, route: str) -> tuple[RoutingView, ...]:
        """It does all."""
        return ()

    async def ensure(self) -> Failure | None:
        """Start Envoy if it does not run, adopt it if it does; why not, if it cannot."""
        async with self._lock:
            try:
                return await self._ensured()
            except (Unavailable, BackendError) as error:
                return lifecycle.unavailable(error.message)
            except OSError as error:
                return lifecycle.unavailable(f"the gateway cannot be started: {error.strerror}")

    async def leave(self) -> None:
        """Go on serving, and tell clients with every answer that their connections end."""
        with contextlib.suppress(Unavailable):
            await self._admin.post("/healthcheck/fail")

    async def close(self, *, stop: bool) -> None:
        """Let go of Envoy, which goes on; with `stop`, let requests in flight finish and end it."""
        async with self._lock:
            running = process.find(self._layout) if stop else None
            if running is not None:
                await lifecycle.end(
                    self._layout, self._admin, running, drain_seconds=self._tuning.drain_seconds
                )
            await self._activator.close(stop=stop)
            await self._admin.close()

    async def _hold(self, routes: Sequence[Route]) -> None:
        """Have somebody hold requests before any are sent there; raises Unavailable."""
        try:
            files.prepare(self._layout.directory)
            files.prepare(self._layout.hold_socket.parent)
            await self._activator.ensure(needed=any(route.waking for route in routes))
        except OSError as error:
            raise Unavailable(f"the activator cannot be started: {error.strerror}") from error

    async def _ensured(self) -> Failure | None:
        place, tuning = self._layout, self._tuning
        await self._activator.ensure()
        running = process.find(place)
        if running is not None and files.read(place.bootstrap) != self._bootstrap:
            await lifecycle.end(place, self._admin, running, drain_seconds=tuning.drain_seconds)
            running = None
        if running is not None:
            return await self._adopted()
        files.prepare(place.directory)
        listeners = self._doors.listeners(running=False)
        if not all(path.exists() for path in (place.clusters, *self._documents.of((), listeners).tables)):
            publish.write(place, self._documents.of((), listeners))
        files.replace(place.listeners, listeners)
        return await lifecycle.start(place, self._admin, self._bootstrap, tuning)

    async def _adopted(self) -> Failure | None:
        """Bring the doors of a running Envoy up to date; they may move while requests are in flight."""
        place = self._layout
        listeners = self._doors.listeners(running=True)
        if files.version(place.listeners) != listeners["version_info"]:
            taken = self._doors.moved_to_taken()
            if taken is not None:
                return taken
            await publish.open_doors(self._admin, place.listeners, listeners)
        if await self._admin.ready():
            return None
        return lifecycle.unavailable(f"the gateway runs but does not listen; see {place.log}")
