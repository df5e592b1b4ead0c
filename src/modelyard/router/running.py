"""Run one router until it is told to end, and end it without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette

from modelyard.domain.errors import Invalid, Unavailable
from modelyard.gateway.envoy.door import problem_at
from modelyard.gateway.envoy.gateway import EnvoyGateway
from modelyard.gateway.envoy.lifecycle import Tuning
from modelyard.router import face
from modelyard.router.channel import Channel
from modelyard.router.keeping import Keeper
from modelyard.router.options import Options
from modelyard.router.station import Station

log = logging.getLogger(__name__)

_FACE_GRACE_SECONDS = 2


def run(options: Options) -> int:
    """Serve until SIGTERM; the exit code. Raises Invalid for options that cannot work."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    token = _token(options.token_file)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, token))
    return 0


async def _serve(options: Options, token: str) -> None:
    _look_at_ports(options)
    over, hurry = _signals()
    station = build(options)
    channel = Channel(options.certificates)
    health = _server(face.health(station, lambda: channel.trouble), options, options.health_port)
    server = _server(face.create(station, token), options, options.face_port, channel)
    talking = asyncio.create_task(_talk(server, channel), name="face")
    answering = [asyncio.create_task(health.serve(), name="health"), talking]
    beginning = asyncio.create_task(station.begin(options.settle_seconds), name="begin")
    looking = [
        beginning,
        asyncio.create_task(station.look_after(), name="look after the gateway"),
        asyncio.create_task(station.listen(), name="listen"),
        asyncio.create_task(channel.follow(), name="certificate"),
    ]
    tasks = [*answering, *looking]
    ending = asyncio.create_task(over.wait())
    await _until(ending, tasks, beginning)
    log.info("leaving")
    await station.leave()
    await _either(asyncio.sleep(options.leave_seconds), hurry)
    await station.gateway.close(stop=True)
    health.should_exit = server.should_exit = True
    # Whoever answers ends by itself, unless it never began to.
    for task in [*looking, talking] if channel.trouble else looking:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [each for each in results if isinstance(each, Exception)]
    if failed:
        raise failed[0]


async def _talk(server: uvicorn.Server, channel: Channel) -> None:
    """Let the control plane in once there is something to prove the router with."""
    await channel.opened()
    await server.serve()


def _server(app: Starlette, options: Options, port: int, channel: Channel | None = None) -> uvicorn.Server:
    """What serves one port, over TLS where there is a channel, which is asked when it begins to serve."""
    config = uvicorn.Config(
        app,
        host=options.door.host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_FACE_GRACE_SECONDS,
        ssl_context_factory=(lambda _config, _default: channel.context) if channel else None,
    )
    return _Quiet(config)


def _look_at_ports(options: Options) -> None:
    """Nothing when both are free; else raises Unavailable: uvicorn would end the process without a word."""
    for option, port in (("--face-port", options.face_port), ("--health-port", options.health_port)):
        taken = problem_at(options.door.host, port, remedy=f"choose another {option}")
        if taken is not None:
            raise Unavailable(f"{taken.reason}: {taken.message}")


def build(options: Options) -> Station:
    """The router itself, without its face."""
    gateway = EnvoyGateway(
        directory=options.directory / "gateway",
        socket_directory=options.sockets or _short(options.directory),
        door=options.door,
        api=options.api,
        domain=options.domain,
        tuning=Tuning(concurrency=options.concurrency, drain_seconds=options.drain_seconds),
    )
    keeper = Keeper(options.directory, options.copy)
    return Station(gateway, keeper, identity=uuid.uuid4().hex)


def _short(directory: Path) -> Path:
    """A directory for sockets, whose paths may not be long."""
    below = directory.absolute() / "s"
    if len(str(below)) <= 60:
        return below
    return Path(tempfile.gettempdir()) / f"modelyard-router-{os.getuid()}"


def _token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise Invalid(f"--token-file: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Invalid(f"--token-file: {path} is no text; put the control plane's token there") from None
    if not token:
        raise Invalid(f"--token-file: {path} is empty; put the control plane's token there")
    return token


async def _until(
    ending: asyncio.Task[bool], tasks: list[asyncio.Task[None]], begin: asyncio.Task[None]
) -> None:
    """Wait until somebody asks to end; raises when a task that should go on did not, as all but `begin`."""
    waiting: set[asyncio.Task[None] | asyncio.Task[bool]] = {ending, *tasks}
    while not ending.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in done if task is not ending and task is not begin]
        for task in (*ended, *(t for t in done if t is begin)):
            task.result()
        if ended:
            raise Unavailable(f"the router's {ended[0].get_name()} ended; its log says why")


async def _either(sleeping: object, hurry: asyncio.Event) -> None:
    """Wait, or until somebody asks a second time."""
    tasks = [asyncio.ensure_future(sleeping), asyncio.create_task(hurry.wait())]  # type: ignore[call-overload]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Events of the first and the second SIGTERM or SIGINT."""
    over, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        (hurry if over.is_set() else over).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    return over, hurry


class _Quiet(uvicorn.Server):
    """A uvicorn that leaves signals to the router."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
