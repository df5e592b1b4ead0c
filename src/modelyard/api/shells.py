"""Shells in replicas: open one, read it as events, write to it, close it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from modelyard.api import sse
from modelyard.api.deployments import KeyDep
from modelyard.api.request import ActorDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.backends.base import Output, Terminal
from modelyard.control import shells
from modelyard.control.shells import Exit, Opened
from modelyard.domain import wire
from modelyard.domain.access import Verb
from modelyard.domain.errors import TooLarge

router = APIRouter(prefix="/projects/{project}/deployments/{deployment}/exec", tags=["deployments"])

_MOST_INPUT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The size of a terminal."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    rows: int = 24
    columns: int = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and where."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    command: tuple[str, ...] = ()
    """Program and arguments; empty is a shell."""
    replica: str = ""
    """Empty is one that runs."""
    terminal: Window | None = None
    """Run it on a terminal of this size; without one, outputs stay apart."""


@router.post("", status_code=201, openapi_extra=states(Verb.OPERATE))
async def open_shell(platform: PlatformDep, actor: ActorDep, key: KeyDep, body: Command) -> Opened:
    """Run a command in the environment of a replica; read it at `/{id}/output`."""
    window = Terminal(body.terminal.rows, body.terminal.columns) if body.terminal else None
    return await shells.open(platform, actor, key, body.command, replica=body.replica, terminal=window)


@router.get("/{shell}/output", openapi_extra=states(Verb.OPERATE))
async def read_shell(platform: PlatformDep, actor: ActorDep, key: KeyDep, shell: str) -> StreamingResponse:
    """What it writes, as server-sent events of `{"stream", "data"}` in base64, then `{"exit"}`."""
    return sse.stream(_documents(await shells.output(platform, actor, key, shell)))


@router.post("/{shell}/input", status_code=204, openapi_extra=states(Verb.OPERATE))
async def write_shell(
    platform: PlatformDep,
    actor: ActorDep,
    key: KeyDep,
    shell: str,
    request: Request,
    end: Annotated[bool, Query()] = False,
) -> None:
    """Give it the body as its input; `end` says that no more will come."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_INPUT:
            raise TooLarge(f"more than {_MOST_INPUT} bytes of input at once; send it in parts")
    await shells.feed(platform, actor, key, shell, data, end=end)


@router.post("/{shell}/window", status_code=204, openapi_extra=states(Verb.OPERATE))
async def resize_shell(platform: PlatformDep, actor: ActorDep, key: KeyDep, shell: str, body: Window) -> None:
    """Tell it the size of its terminal."""
    await shells.resize(platform, actor, key, shell, Terminal(body.rows, body.columns))


@router.delete("/{shell}", status_code=204, openapi_extra=states(Verb.OPERATE))
async def close_shell(platform: PlatformDep, actor: ActorDep, key: KeyDep, shell: str) -> None:
    """End it with everything that it runs."""
    await shells.close(platform, actor, key, shell)


async def _documents(found: AsyncIterator[Output | Exit]) -> AsyncIterator[dict[str, Any]]:
    async for each in found:
        match each:
            case Output(stream, data):
                yield {"stream": stream, "data": base64.b64encode(data).decode()}
            case Exit(code=code):
                yield {"exit": code}
