"""Commands in containers: a WebSocket that carries several streams (v5.channel.k8s.io)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections.abc import Sequence
from typing import Any, Protocol

import httpcore2
import httpx2
import orjson
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from modelyard.backends.base import Output, Terminal
from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.calls import Again, Call
from modelyard.backends.kubernetes.client.transport import Transport
from modelyard.domain.errors import BackendError, Unavailable

PROTOCOL = "v5.channel.k8s.io"
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_PIECE = 32 * 1024
_BUFFER = 128 * 1024
_WAITING_OUTPUTS = 256
_SILENT_SECONDS = 30.0
_MOST_SILENCES = 3
_HUNG_UP = -1
"""As if it had got SIGHUP, which is what the loss of its terminal comes to."""
_NO_PROGRAM = 127
_NOT_STARTED = 126


class Wire(Protocol):
    """The connection below, as httpx2 hands it out after an upgrade."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What came; nothing at its end."""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""


def call(namespace: str, pod: str, command: Sequence[str], *, container: str, tty: bool, stdin: bool) -> Call:
    """What opens a command; a terminal has no stderr of its own."""
    pairs = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
    query: dict[str, Any] = {key: "true" for key, value in pairs.items() if value}
    query |= {"container": container} if container else {}
    path = kinds.POD.path(namespace=namespace, name=pod, subresource="exec")
    return Call(
        verb="exec",
        kind=kinds.POD.qualified,
        path=path,
        query={**query, "command": list(command)},
        again=Again.NO,
    )


async def opened(transport: Transport, asked: Call, terminal: Terminal | None) -> Channel:
    """A running command; raises NotFound, Invalid, Forbidden, Unavailable."""
    stack = contextlib.AsyncExitStack()
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": base64.b64encode(secrets.token_bytes(16)).decode(),
        "sec-websocket-version": "13",
        "sec-websocket-protocol": PROTOCOL,
    }
    try:
        answer = await stack.enter_async_context(transport.open(asked, idle=None, headers=headers))
        _agreed(answer)
    except BaseException:
        await stack.aclose()
        raise
    channel = Channel(answer.extensions["network_stream"], stack)
    if terminal is not None:
        await channel.resize(terminal)
    return channel


def _agreed(answer: httpx2.Response) -> None:
    if answer.status_code != 101:
        message = "the API server did not open a WebSocket; is there a proxy that keeps it from that?"
        raise BackendError(message, retryable=False, reason="ExecRefused")
    if answer.headers.get("sec-websocket-protocol") != PROTOCOL:
        message = f"the API server does not know {PROTOCOL}; commands in pods need Kubernetes 1.30 or newer"
        raise BackendError(message, retryable=False, reason="ExecRefused")


class Channel:
    """One command and the ends of its lines; keeps what `backends.base.Shell` promises."""

    def __init__(self, wire: Wire, held: contextlib.AsyncExitStack) -> None:
        self._wire = wire
        self._held = held
        self._socket = Connection(ConnectionType.CLIENT)
        self._turn = asyncio.Lock()
        self._outputs: asyncio.Queue[Output | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._stream: int | None = None
        self._said = b""
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._read_all = False
        self._pump = asyncio.create_task(self._receive())

    async def read(self) -> Output | None:
        """What it wrote next; None when it has ended and everything was read."""
        if self._read_all:
            return None
        found = await self._outputs.get()
        self._room.set()
        self._read_all = found is None
        return found

    async def write(self, data: bytes) -> None:
        """Give it input; no bytes at all are the end of its input."""
        if not data:
            await self._send(bytes((CLOSE, STDIN)))
        for start in range(0, len(data), _PIECE):
            await self._send(bytes((STDIN,)) + data[start : start + _PIECE])

    async def resize(self, terminal: Terminal) -> None:
        """Its window has another size now."""
        size = orjson.dumps({"Width": terminal.columns, "Height": terminal.rows})
        await self._send(bytes((RESIZE,)) + size)

    async def wait(self) -> int:
        """Its exit code; raises Unavailable when the connection broke before it was known."""
        return await asyncio.shield(self._status)

    async def close(self) -> None:
        """Hang up, upon which the container runtime ends it. Idempotent."""
        self._pump.cancel()
        await asyncio.wait({self._pump})
        with contextlib.suppress(httpcore2.NetworkError, httpcore2.TimeoutException, LocalProtocolError):
            if self._socket.state is ConnectionState.OPEN:
                await self._raw(CloseConnection(1000))
        await self._held.aclose()
        self._end(_HUNG_UP)

    async def _send(self, data: bytes) -> None:
        """To a command that has ended, nothing is sent any more, as to a pipe that nobody reads."""
        if self._status.done() or self._socket.state is not ConnectionState.OPEN:
            return
        try:
            await self._raw(BytesMessage(data))
        except (httpcore2.NetworkError, httpcore2.TimeoutException, LocalProtocolError) as error:
            if not self._status.done():
                raise Unavailable(f"the connection to the command broke: {type(error).__name__}") from None

    async def _raw(self, event: Event) -> None:
        async with self._turn:
            await self._wire.write(self._socket.send(event), timeout=_SILENT_SECONDS)

    async def _receive(self) -> None:
        """Sort what comes until the connection ends; a peer that answers no ping is gone."""
        why = "the connection ended before the command did"
        try:
            while self._socket.state is ConnectionState.OPEN:
                self._socket.receive_data(await self._next() or None)
                for event in self._socket.events():
                    await self._sort(event)
        except (httpcore2.NetworkError, httpcore2.TimeoutException, RemoteProtocolError) as error:
            why = f"the connection to the command broke: {type(error).__name__}"
        self._end(Unavailable(why))

    async def _next(self) -> bytes:
        for _ in range(_MOST_SILENCES - 1):
            try:
                return await self._wire.read(_BUFFER, timeout=_SILENT_SECONDS)
            except httpcore2.ReadTimeout:
                await self._raw(Ping())
        return await self._wire.read(_BUFFER, timeout=_SILENT_SECONDS)

    async def _sort(self, event: Event) -> None:
        match event:
            case Ping():
                await self._raw(event.response())
            case CloseConnection() if self._socket.state is ConnectionState.REMOTE_CLOSING:
                await self._raw(event.response())
            case _:
                await self._message(event)

    async def _message(self, event: Event) -> None:
        """One piece of a message: the first byte of the first piece says of which stream it is."""
        if not isinstance(event, BytesMessage):
            return
        data = bytes(event.data)
        if self._stream is None and data:
            self._stream, data = data[0], data[1:]
        if self._stream == STATUS:
            self._said += data
        elif self._stream in _NAMES and data:
            await self._output(Output(_NAMES[self._stream], data))
        if event.message_finished:
            if self._stream == STATUS and not self._status.done():
                await self._ended_with(self._said)
            self._stream = None

    async def _output(self, output: Output) -> None:
        """Keep it until it is read, and read no further while much is waiting."""
        while self._outputs.qsize() >= _WAITING_OUTPUTS:
            self._room.clear()
            await self._room.wait()
        self._outputs.put_nowait(output)

    async def _ended_with(self, said: bytes) -> None:
        code, words = exit_of(said)
        if words:
            await self._output(Output("stderr", f"{words}\n".encode()))
        self._status.set_result(code)

    def _end(self, otherwise: int | Unavailable) -> None:
        """Nothing more comes; what became of the command, unless it said so itself."""
        if not self._status.done() and isinstance(otherwise, int):
            self._status.set_result(otherwise)
        elif not self._status.done() and isinstance(otherwise, Unavailable):
            self._status.set_exception(otherwise)
            self._status.exception()  # nobody has to ask for it
        self._outputs.put_nowait(None)


def exit_of(said: bytes) -> tuple[int, str]:
    """The exit code in a `Status`, and why there is none of a program that was never started."""
    try:
        status = orjson.loads(said)
    except orjson.JSONDecodeError:
        return _NOT_STARTED, said.decode(errors="replace")
    if status.get("status") == "Success":
        return 0, ""
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
            return int(cause["message"]), ""
    words = str(status.get("message") or "the command could not be run")
    missing = "executable file not found" in words or "no such file or directory" in words
    return _NO_PROGRAM if missing else _NOT_STARTED, words
