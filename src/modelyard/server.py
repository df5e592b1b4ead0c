"""The composition root: settings, secrets and rooms become one running platform."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from modelyard import settings
from modelyard.api import app as api
from modelyard.api.following import Following
from modelyard.api.measure import Measure
from modelyard.composing import announcing, choosing, doors, leading, listening, requiring, rooms
from modelyard.composing.rooms import Given, World
from modelyard.control import certificates, installation, shutdown
from modelyard.control.certificate_files import CA_FILE
from modelyard.control.controller import Controller, prepare
from modelyard.control.platform import Platform
from modelyard.domain import quantity
from modelyard.domain.errors import Forbidden, Unavailable
from modelyard.store import Database

log = logging.getLogger(__name__)

Ready = Callable[[str, str], None]
"""Called with the URL of the front door and a one-time login link; an empty one where others read it."""
_STOP_GRACE_SECONDS = 35.0
_READY_SECONDS = 60.0


def run(environ: Mapping[str, str], flags: Mapping[str, Any], *, on_ready: Ready) -> int:
    """Run the platform in the foreground until a signal ends it; the exit code.

    Raises Invalid for wrong settings, Conflict when it runs already, Unavailable when it cannot start.
    """
    home = settings.home(environ)
    installation.prepare(home)
    loaded = settings.load(home, environ, flags)
    requiring.require(loaded.settings)
    with installation.locked(home):
        installation.log_to(home)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(home, loaded.settings, environ, on_ready))
    return 0


def _given(home: Path, chosen: settings.Settings, environ: Mapping[str, str], installed: str) -> Given:
    return Given(
        home=home,
        chosen=chosen,
        environ=environ,
        clock=time.time,
        api_socket=installation.socket_directory(home) / "api.sock",
        identity=environ.get("POD_NAME") or f"{os.uname().nodename}-{os.getpid()}",
        installation=installed,
    )


async def _serve(home: Path, chosen: settings.Settings, environ: Mapping[str, str], on_ready: Ready) -> None:
    measure = Measure()
    # The database comes first: it knows which installation this is, and a cluster is asked whether it is its.
    database = await Database.open(chosen.store.url or f"sqlite:///{home / 'modelyard.db'}")
    try:
        installed = await installation.identity(database, lambda: uuid.uuid4().hex)
        given = _given(home, chosen, environ, installed)
        async with choosing.world(given, measure) as world:
            await _run(given, world, rooms.platform(given, world, database), measure, on_ready)
    finally:
        await database.close()
    (home / installation.SERVER_FILE).unlink(missing_ok=True)


async def _run(given: Given, world: World, platform: Platform, measure: Measure, on_ready: Ready) -> None:
    chosen, cluster = given.chosen, given.chosen.kubernetes
    await prepare(platform)
    await _require_guarded(platform, chosen.server)
    if platform.tls is not None:
        await certificates.refresh(platform)
    token = await installation.administrator_token(platform, given.home)
    await world.keep_keys()
    app = api.create(platform, observe=measure.requested, exposition=measure.exposition(platform))
    app.state.upload_bytes = quantity.parse_memory(chosen.limits.upload, "limits.upload")
    # One that may have to follow gives what comes to it to the one that leads.
    followed = None if world.leadership is None else Following(app, leader=partial(_leader, world.leadership))
    server = listening.server(followed or app)
    stop, ending = _signals(), asyncio.Event()
    gc.freeze()  # what a start makes stays, and no later look for garbage needs to pass over it
    gc.enable()
    if world.has_door:
        await _require_door(platform)
    with listening.sockets(given.api_socket, cluster.api_host, cluster.api_port) as sockets:
        controlling = asyncio.create_task(_control(world, platform, measure, ending))
        serving = asyncio.create_task(server.serve(sockets=sockets))
        said = asyncio.create_task(_announce(given, world, platform, token, on_ready))
        trouble = await _trouble(stop, serving, controlling, said)
        log.info("stopping", extra={"because": str(trouble or "asked to")})
        said.cancel()
        ending.set()
        await asyncio.wait([controlling], timeout=_STOP_GRACE_SECONDS)
        await platform.shells.close()
        if world.outlives:
            await platform.gateway.close(stop=True)
        else:
            await shutdown.stop_all(platform, grace_seconds=_STOP_GRACE_SECONDS, hurry=_signals())
        server.should_exit = True
        await asyncio.gather(serving, controlling, said, return_exceptions=True)
        if followed is not None:
            await followed.close()
    if trouble is not None:
        raise trouble


async def _control(world: World, platform: Platform, measure: Measure, ending: asyncio.Event) -> None:
    """Reconcile until the platform ends; where a lease says who does, only while it is this one."""
    if world.leadership is not None:
        made = partial(Controller, platform, observe=measure.reconciled)
        await leading.run(
            world.leadership,
            made,
            ending,
            crowned=partial(prepare, platform),
            deposed=partial(_forget_routes, world, platform),
        )
        return
    controller = Controller(platform, observe=measure.reconciled)
    working = asyncio.create_task(controller.run(), name="control")
    asked = asyncio.create_task(ending.wait())
    await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    await controller.stop()
    await working


def _leader(leadership: rooms.Leadership) -> str:
    """Where another control plane leads; empty when there is none."""
    return leadership.elsewhere


async def _forget_routes(world: World, platform: Platform) -> None:
    """Stop telling routers what they should do; a gateway beside this control plane is nobody else's."""
    if not world.has_door:
        await platform.gateway.close(stop=False)


async def _require_door(platform: Platform) -> None:
    """Nothing is started before the front door is known to open."""
    failure = await platform.gateway.ensure()
    if failure is not None:
        raise Unavailable(f"{failure.reason}: {failure.message}")


async def _announce(given: Given, world: World, platform: Platform, token: str, on_ready: Ready) -> None:
    """Say so once the front door answers. Raises Unavailable when it does not."""
    deadline = time.monotonic() + _READY_SECONDS
    door, home = platform.door, given.home
    asked = doors.url("http", door.host, door.port)
    if not world.has_door:
        cluster = given.chosen.kubernetes
        asked = doors.url("http", cluster.api_host or "127.0.0.1", cluster.api_port)
    while not await installation.answers(asked):
        if time.monotonic() > deadline:
            raise Unavailable(f"the front door does not answer; its log is below {home / 'gateway'}")
        await asyncio.sleep(0.05)
    installation.write_server_file(
        home,
        platform.public_url,
        socket=given.api_socket,
        authority=platform.tls.directory / CA_FILE if platform.tls else None,
    )
    kept = announcing.is_kept(given.chosen, given.environ)
    on_ready(platform.public_url, "" if kept else await installation.login_link(platform, token))


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
    if server.insecure or doors.is_loopback(server.host) or await installation.has_passwords(platform):
        return
    raise Forbidden(
        f"listening on {server.host} would open the platform to the network while no user has a password; "
        "start on 127.0.0.1 and run `modelyard user update admin --password-stdin`, or say --insecure"
    )


def _signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
