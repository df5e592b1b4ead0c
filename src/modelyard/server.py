"""The composition root: settings, secrets and rooms become one running platform."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import ipaddress
import logging
import os
import secrets
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uv
import uvicorn
import uvloop

from modelyard import __version__, settings
from modelyard.api import app as api
from modelyard.api.measure import Measure
from modelyard.artifacts import Bounds, LocalArtifacts
from modelyard.backends.local import Capacity, LocalBackend, LocalEnvironments, Options
from modelyard.control import certificates, hours, installation, shutdown
from modelyard.control.certificate_files import CA_FILE
from modelyard.control.controller import Controller, prepare
from modelyard.control.platform import Platform, Tls
from modelyard.control.sites import Sites
from modelyard.domain import hosts, quantity
from modelyard.domain.address import Site, require_external
from modelyard.domain.errors import Forbidden, Invalid, Unavailable
from modelyard.domain.ports import Range
from modelyard.gateway.base import Door
from modelyard.gateway.envoy.gateway import EnvoyGateway
from modelyard.store import Database

log = logging.getLogger(__name__)

Ready = Callable[[str, str], None]
"""Called with the URL of the front door and a one-time login link."""
_STOP_GRACE_SECONDS = 35.0
_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rooms:
    """What was built, so that it can be closed again."""

    platform: Platform
    database: Database
    backend: LocalBackend


def run(environ: Mapping[str, str], flags: Mapping[str, Any], *, on_ready: Ready) -> int:
    """Run the platform in the foreground until a signal ends it; the exit code.

    Raises Invalid for wrong settings, Conflict when it runs already, Unavailable when it cannot start.
    """
    home = settings.home(environ)
    installation.prepare(home)
    loaded = settings.load(home, environ, flags)
    hours.require_zone(loaded.settings.scaling.time_zone, "scaling.time_zone")
    with installation.locked(home):
        installation.log_to(home)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(home, loaded.settings, on_ready))
    return 0


async def _serve(home: Path, chosen: settings.Settings, on_ready: Ready) -> None:
    measure = Measure()
    async with _built(home, chosen) as rooms:
        platform = rooms.platform
        await prepare(platform)
        await _require_guarded(platform, chosen.server)
        if platform.tls is not None:
            await certificates.refresh(platform)
        token = await installation.administrator_token(platform, home)
        controller = Controller(platform, observe=measure.reconciled)
        app = api.create(platform, observe=measure.requested, exposition=measure.exposition(platform))
        app.state.upload_bytes = quantity.parse_memory(chosen.limits.upload, "limits.upload")
        server = _Quiet(
            uvicorn.Config(app, uds=str(_api_socket(home)), log_config=None, access_log=False, lifespan="off")
        )
        stop = _signals()
        gc.freeze()  # what a start makes stays, and no later look for garbage needs to pass over it
        gc.enable()
        await _require_door(platform)
        controlling = asyncio.create_task(controller.run())
        serving = asyncio.create_task(server.serve())
        announcing = asyncio.create_task(_announce(platform, home, token, on_ready))
        trouble = await _trouble(stop, serving, controlling, announcing)
        log.info("stopping", extra={"because": str(trouble or "asked to")})
        announcing.cancel()
        await controller.stop()
        await platform.shells.close()
        await shutdown.stop_all(platform, grace_seconds=_STOP_GRACE_SECONDS, hurry=_signals())
        server.should_exit = True
        await asyncio.gather(serving, controlling, announcing, return_exceptions=True)
        if trouble is not None:
            raise trouble
    (home / installation.SERVER_FILE).unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _built(home: Path, chosen: settings.Settings) -> AsyncIterator[Rooms]:
    sockets = installation.socket_directory(home)
    database = await Database.open(chosen.store.url or f"sqlite:///{home / 'modelyard.db'}")
    backend = LocalBackend(
        directory=home / "replicas",
        socket_directory=sockets,
        interpreter=sys.executable,
        clock=time.time,
        capacity=_capacity(chosen.node),
        options=Options(
            max_body_bytes=quantity.parse_memory(chosen.limits.request, "limits.request"),
            shared_memory=chosen.limits.shared_memory,
            programs=dataclasses.asdict(chosen.servers),
            secrets=str(home / "secrets"),
        ),
    )
    door = _door(chosen)
    gateway = EnvoyGateway(
        directory=home / "gateway",
        socket_directory=sockets,
        door=door,
        api=_api_socket(home),
        domain=chosen.server.domain,
    )
    environments = LocalEnvironments(
        directory=home / "environments",
        uv=uv.find_uv_bin(),
        index_url=chosen.runtimes.index_url,
        offline=chosen.runtimes.offline,
    )
    platform = Platform(
        database=database,
        artifacts=LocalArtifacts(
            home / "artifacts",
            bounds=Bounds(max_bytes=quantity.parse_memory(chosen.limits.upload, "limits.upload")),
        ),
        backend=backend,
        environments=environments,
        gateway=gateway,
        clock=time.time,
        new_id=lambda: uuid.uuid4().hex[:16],
        random_token=lambda: secrets.token_urlsafe(32),
        master_key=installation.master_key(home),
        domain=chosen.server.domain,
        public_url=_public_url(chosen.server),
        door=door,
        sites=Sites(_site(chosen)),
        tls=_tls(home, chosen),
        port_range=_port_range(chosen.gateway),
        version=__version__,
        identity=f"{os.uname().nodename}-{os.getpid()}",
        time_zone=chosen.scaling.time_zone,
        test_timeout_seconds=chosen.limits.test_timeout_seconds,
    )
    try:
        yield Rooms(platform, database, backend)
    finally:
        await backend.close()
        await database.close()


async def _require_door(platform: Platform) -> None:
    """Nothing is started before the front door is known to open."""
    failure = await platform.gateway.ensure()
    if failure is not None:
        raise Unavailable(f"{failure.reason}: {failure.message}")


async def _announce(platform: Platform, home: Path, token: str, on_ready: Ready) -> None:
    """Say so once the front door answers. Raises Unavailable when it does not."""
    deadline = time.monotonic() + _READY_SECONDS
    while not await installation.answers(_url("http", platform.door.host, platform.door.port)):
        if time.monotonic() > deadline:
            raise Unavailable(f"the front door does not answer; its log is below {home / 'gateway'}")
        await asyncio.sleep(0.05)
    installation.write_server_file(
        home,
        platform.public_url,
        socket=_api_socket(home),
        authority=platform.tls.directory / CA_FILE if platform.tls else None,
    )
    on_ready(platform.public_url, await installation.login_link(platform, token))


async def _trouble(stop: asyncio.Event, *tasks: asyncio.Task[None]) -> BaseException | None:
    """Wait until somebody asks to stop, or one of the tasks fails: then why."""
    asked = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Task[Any]] = {asked, *tasks}
    while not stop.is_set():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        failed = [task.exception() for task in done if not task.cancelled()]
        if any(failed):
            asked.cancel()
            return next(filter(None, failed))
    return None


async def _require_guarded(platform: Platform, server: settings.Server) -> None:
    """Beyond loopback somebody must have to log in, or the administrator must have said otherwise."""
    if server.insecure or _is_loopback(server.host) or await installation.has_passwords(platform):
        return
    raise Forbidden(
        f"listening on {server.host} would open the platform to the network while no user has a password; "
        "start on 127.0.0.1 and run `modelyard user update admin --password-stdin`, or say --insecure"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _door(chosen: settings.Settings) -> Door:
    server = chosen.server
    return Door(
        host=server.host,
        port=server.port,
        https_port=server.https_port,
        second_port=chosen.gateway.second_port,
        redirect=server.redirect_to_https,
    )


def _site(chosen: settings.Settings) -> Site:
    hosts.require_domain(chosen.server.domain, "server.domain")
    require_external(chosen.gateway.external_ip, "gateway.external_ip")
    return Site(domain=chosen.server.domain, external_ip=chosen.gateway.external_ip)


def _tls(home: Path, chosen: settings.Settings) -> Tls | None:
    """How the HTTPS port proves itself; None without one. Raises Invalid for half a certificate."""
    server, site = chosen.server, _site(chosen)
    if bool(server.certificate) != bool(server.key):
        raise Invalid("server.certificate and server.key belong together: give both, or neither")
    if not server.https_port:
        return None
    machine = os.uname().nodename.lower()
    own = {server.domain, f"*.service.{server.domain}", "localhost", machine, "127.0.0.1", "::1"}
    given = {server.host, *site.external_ip.split("|")} - {"", "0.0.0.0", "::"}  # noqa: S104 - compared
    return Tls(
        directory=home / "tls",
        name=machine,
        certificate=server.certificate,
        key=server.key,
        hosts=tuple(sorted(own | given)),
    )


def _port_range(gateway: settings.Gateway) -> Range:
    parts = [part.strip() for part in gateway.refused_ports.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise Invalid(f"gateway.refused_ports must be ports with commas, got {gateway.refused_ports[:70]!r}")
    refused = frozenset(map(int, parts))
    return Range(base=gateway.port_base, count=gateway.port_count, refused=refused)


def _public_url(server: settings.Server) -> str:
    if server.redirect_to_https:
        return _url("https", server.host, server.https_port)
    return _url("http", server.host, server.port)


def _url(scheme: str, host: str, port: int) -> str:
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    reached = "127.0.0.1" if everywhere else host
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


def _capacity(node: settings.Node) -> Capacity:
    return Capacity(
        cpu_millis=quantity.parse_cpu(node.cpu, "node.cpu") if node.cpu else None,
        memory_bytes=quantity.parse_memory(node.memory, "node.memory") if node.memory else None,
        gpus=None if node.gpus < 0 else node.gpus,
    )


def _api_socket(home: Path) -> Path:
    return installation.socket_directory(home) / "api.sock"


def _signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


class _Quiet(uvicorn.Server):
    """A uvicorn that leaves signals to the platform."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
