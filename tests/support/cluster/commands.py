"""`pods/exec`: commands in containers, over a WebSocket of several streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.cluster.refusals import Refusal
from tests.support.cluster.store import Object

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be run, and where."""

    pod: Object
    container: str
    command: Sequence[str]
    tty: bool = False


class Command(Protocol):
    """A command that runs."""

    async def write(self, data: bytes) -> None:
        """Give it input; no bytes at all are the end of its input."""

    async def read(self) -> tuple[int, bytes] | None:
        """What it wrote next, with the stream's number; None when that was all."""

    def resize(self, columns: int, rows: int) -> None:
        """Its window has another size now."""

    async def wait(self) -> int:
        """Its exit code."""

    def kill(self) -> None:
        """End it, because whoever asked for it hung up."""


@dataclass(slots=True)
class Played:
    """A command that only says something and ends, for pods that are not run."""

    out: bytes = b""
    wrong: bytes = b""
    exit_code: int = 0
    given: bytes = b""
    size: tuple[int, int] = (0, 0)
    waits_for_input: bool = False
    """Whether it ends only when its input does, and then repeats that first."""
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _told: int = 0

    async def write(self, data: bytes) -> None:
        self.given += data
        if not data:
            self._ended.set()

    async def read(self) -> tuple[int, bytes] | None:
        if self.waits_for_input:
            await self._ended.wait()
        pieces = [
            (STDOUT, self.given if self.waits_for_input else b""),
            (STDOUT, self.out),
            (STDERR, self.wrong),
        ]
        pieces = [piece for piece in pieces if piece[1]]
        if self._told >= len(pieces):
            return None
        self._told += 1
        return pieces[self._told - 1]

    def resize(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)

    async def wait(self) -> int:
        return self.exit_code

    def kill(self) -> None:
        self._ended.set()


def asked(pod: Object, query: Any) -> Asked:
    """What a request wants; raises Refusal in the API server's words."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    if not spec.get("nodeName"):
        raise Refusal(400, f"pod {name} does not have a host assigned")
    names = [c["name"] for c in (*spec["containers"], *spec.get("initContainers", ()))]
    container = query.get("container") or _only(pod)
    if container not in names:
        raise Refusal(400, f"container {container} is not valid for pod {name}")
    command = query.getlist("command")
    if not command:
        raise Refusal(400, "you must specify at least 1 command for the container")
    return Asked(pod, container, command, query.get("tty") in ("1", "true"))


def _only(pod: Object) -> str:
    name, containers = pod["metadata"]["name"], [c["name"] for c in pod["spec"]["containers"]]
    if len(containers) > 1:
        choice = " ".join(containers)
        raise Refusal(400, f"a container name must be specified for pod {name}, choose one of: [{choice}]")
    return str(containers[0])


async def serve(socket: WebSocket, find: Callable[[], Object], start: Callable[[Asked], Any]) -> None:
    """Answer one request for a command: `find` is its pod, `start` begins it."""
    offered = [p for p in PROTOCOLS if p in socket.scope["subprotocols"]]
    try:
        if not offered:
            raise Refusal(400, "unable to upgrade: no protocol of ours was offered")
        wanted = asked(find(), socket.query_params)
        command: Command = await start(wanted)
    except Refusal as refusal:
        await socket.send_denial_response(JSONResponse(refusal.status, refusal.code))
        return
    await socket.accept(subprotocol=offered[0])
    given = asyncio.create_task(_give(socket, command))
    told = asyncio.create_task(_tell(socket, command))
    done, _ = await asyncio.wait({given, told}, return_when=asyncio.FIRST_COMPLETED)
    if told not in done:
        command.kill()
    for task in (given, told):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await task
    await command.wait()


async def _give(socket: WebSocket, command: Command) -> None:
    """What the client sends, until it hangs up."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes") or b""
        match data[:1]:
            case b"\x00" if len(data) > 1:
                await command.write(data[1:])
            case b"\x04":
                size = json.loads(data[1:])
                command.resize(size["Width"], size["Height"])
            case b"\xff" if data[1:] == b"\x00":
                await command.write(b"")


async def _tell(socket: WebSocket, command: Command) -> None:
    while (piece := await command.read()) is not None:
        stream, data = piece
        await socket.send_bytes(bytes((stream,)) + data)
    await socket.send_bytes(bytes((STATUS,)) + json.dumps(ended(await command.wait())).encode())
    await socket.close()


def ended(code: int) -> Object:
    """The status of a command that ended so."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
