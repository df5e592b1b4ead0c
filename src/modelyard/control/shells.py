"""Shells in replicas: opened by who may operate a service, read and fed in parts, ended when left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from modelyard.backends.base import Output, Terminal
from modelyard.control import authorise, servers
from modelyard.control.deployments import KIND, allowed, found
from modelyard.control.opened import Session
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Verb
from modelyard.domain.deployment import Deployment, Key, Phase
from modelyard.domain.errors import Conflict, Unavailable

MOST = 64
"""So many shells may be open at once in one control plane."""

_MOST_WORDS = 1000
_ENDED = (Phase.FAILED, Phase.STOPPING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A shell that was begun."""

    id: str
    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of a command."""

    code: int
    """Negative is a signal."""


async def open(
    platform: Platform,
    actor: Actor,
    key: Key,
    command: Sequence[str],
    *,
    replica: str = "",
    terminal: Terminal | None = None,
) -> Opened:
    """Run a command in a replica, the first that runs unless one is named; without words, a shell.

    Raises Conflict when no replica runs, NotFound for one that is not there, Unavailable when there are
    too many shells already.
    """
    await allowed(platform, actor, Verb.OPERATE, key)
    async with platform.database.read() as tx:
        deployment = await found(tx, key)
    await servers.require_shell_permitted(platform, actor, key)
    if len(platform.shells) >= MOST:
        raise Unavailable(f"{MOST} shells are open; end one first", retry_after_seconds=10.0)
    name = replica or _first(deployment)
    shell = await platform.backend.exec(key, name, command[:_MOST_WORDS], terminal=terminal)
    async with platform.database.begin() as tx:
        message = f"in {name}: {' '.join(command)[:500] or 'a shell'}"
        await authorise.note(
            platform, tx, actor, project=key.project, kind=KIND, name=key.service, reason="ShellOpened",
            message=message,
        )  # fmt: skip
    id = platform.new_id()
    platform.shells.add(id, Session(key, actor.name, shell))
    return Opened(id=id, replica=name)


async def output(platform: Platform, actor: Actor, key: Key, id: str) -> AsyncIterator[Output | Exit]:
    """What a shell writes, then how it ended; who stops reading leaves it to end by itself."""
    await allowed(platform, actor, Verb.OPERATE, key)
    session = platform.shells.get(id, key, actor)
    return _read(platform, id, session)


async def feed(platform: Platform, actor: Actor, key: Key, id: str, data: bytes, *, end: bool) -> None:
    """Give a shell input, and with `end` no more after it."""
    await allowed(platform, actor, Verb.OPERATE, key)
    shell = platform.shells.get(id, key, actor).shell
    if data:
        await shell.write(data)
    if end:
        await shell.write(b"")


async def resize(platform: Platform, actor: Actor, key: Key, id: str, terminal: Terminal) -> None:
    """The window has another size."""
    await allowed(platform, actor, Verb.OPERATE, key)
    await platform.shells.get(id, key, actor).shell.resize(terminal)


async def close(platform: Platform, actor: Actor, key: Key, id: str) -> None:
    """End a shell."""
    await allowed(platform, actor, Verb.OPERATE, key)
    platform.shells.get(id, key, actor)
    await platform.shells.end(id)


async def _read(platform: Platform, id: str, session: Session) -> AsyncIterator[Output | Exit]:
    shells = platform.shells
    shells.join(session)
    over = False
    try:
        while (wrote := await session.shell.read()) is not None:
            yield wrote
        code = await session.shell.wait()
        over = True
        yield Exit(code=code)
    finally:
        if over:
            await shells.end(id)
        else:
            shells.leave(id)


def _first(deployment: Deployment) -> str:
    """The replica that a command without a name runs in: a ready one before any other."""
    running = [r for r in deployment.status.replicas if r.phase not in _ENDED]
    running.sort(key=lambda r: (r.phase is not Phase.READY, r.revision != deployment.wanted_revision, r.name))
    if not running:
        service = deployment.key.service
        raise Conflict(f"no replica of {service} runs; `modelyard explain {service}` says why")
    return running[0].name
