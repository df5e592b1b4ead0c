"""Commands in containers, with a kubelet that runs them here and speaks v5.channel.k8s.io."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from modelyard.backends.base import Output, Shell, Terminal
from modelyard.backends.kubernetes.client import shells
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.domain.errors import BackendError, NotFound, Unavailable
from tests.kubernetes.client.scripted import Asked, scripted
from tests.support.connected import client
from tests.support.patience import PATIENCE

PATH = "/api/v1/namespaces/a/pods/{pod}/exec"


class Kubelet:
    """Runs what it is asked to; the pod `hangs` breaks off, the pod `old` knows no such protocol."""

    def __init__(self) -> None:
        self.queries: list[dict[str, list[str]]] = []
        self.sizes: list[dict[str, int]] = []
        self.ended = 0
        routes = [WebSocketRoute(PATH, self.open), Route(PATH, self.missing)]
        self.app = Starlette(routes=routes)

    async def missing(self, _: Any) -> JSONResponse:
        return JSONResponse({"code": 404, "reason": "NotFound", "message": 'pods "p" not found'}, 404)

    async def open(self, socket: WebSocket) -> None:
        self.queries.append({key: socket.query_params.getlist(key) for key in socket.query_params})
        pod = socket.path_params["pod"]
        if pod == "none":
            status = {"code": 404, "reason": "NotFound", "message": 'pods "none" not found'}
            await socket.send_denial_response(JSONResponse(status, 404))
            return
        assert socket.scope["subprotocols"] == [shells.PROTOCOL]
        await socket.accept(subprotocol=None if pod == "old" else shells.PROTOCOL)
        if pod == "hangs":
            await socket.send_bytes(b"\x01some")
            await socket.close(1011)
            return
        with contextlib.suppress(WebSocketDisconnect):
            await self.run(socket, socket.query_params.getlist("command"))
        self.ended += 1

    async def run(self, socket: WebSocket, command: list[str]) -> None:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError:
            words = f'OCI runtime exec failed: exec: "{command[0]}": executable file not found in $PATH'
            await self.status(socket, {"status": "Failure", "reason": "InternalError", "message": words})
            return
        tasks = [
            asyncio.create_task(self.out(socket, 1, process.stdout)),
            asyncio.create_task(self.out(socket, 2, process.stderr)),
        ]
        given = asyncio.create_task(self.give(socket, process))
        try:
            ended = asyncio.create_task(process.wait())
            await asyncio.wait({ended, given}, return_when=asyncio.FIRST_COMPLETED)
            if given.done():
                given.result()
            await ended
            await asyncio.gather(*tasks)
            code = process.returncode or 0
            causes = [{"reason": "ExitCode", "message": str(code if code >= 0 else 128 - code)}]
            failed = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
            await self.status(socket, failed if code else {"status": "Success"})
        finally:
            given.cancel()
            if process.returncode is None:
                process.kill()

    async def status(self, socket: WebSocket, status: dict[str, Any]) -> None:
        await socket.send_bytes(b"\x03" + json.dumps(status).encode())
        await socket.close()

    async def out(self, socket: WebSocket, number: int, stream: Any) -> None:
        while data := await stream.read(100_000):
            await socket.send_bytes(bytes((number,)) + data)

    async def give(self, socket: WebSocket, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        while True:
            data = await socket.receive_bytes()
            match data[0]:
                case 0:
                    process.stdin.write(data[1:])
                    await process.stdin.drain()
                case 4:
                    self.sizes.append(json.loads(data[1:]))
                case 255 if data[1:] == b"\x00":
                    process.stdin.close()


@contextlib.asynccontextmanager
async def kubelet() -> AsyncIterator[tuple[Kubelet, Cluster]]:
    there = Kubelet()
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        there.app, log_level="critical", lifespan="off", ws="wsproto", timeout_graceful_shutdown=1
    )
    http = uvicorn.Server(config)
    task = asyncio.create_task(http.serve(sockets=[listening]))
    while not http.started:
        await asyncio.sleep(0.01)
    try:
        async with client(f"http://127.0.0.1:{listening.getsockname()[1]}") as cluster:
            yield there, cluster
    finally:
        http.should_exit = True
        await task


async def read_all(shell: Shell) -> dict[str, bytes]:
    found: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    while output := await shell.read():
        found[output.stream] += output.data
    assert await shell.read() is None
    return found


async def test_outputs_stay_apart_and_the_exit_code_comes() -> None:
    async with kubelet() as (there, cluster):
        script = "echo out; echo err >&2; exit 3"
        shell = await cluster.exec("a", "p", ["sh", "-c", script], container="main")
        assert await read_all(shell) == {"stdout": b"out\n", "stderr": b"err\n"}
        assert await shell.wait() == 3
        await shell.close()
        await shell.close()
        assert there.queries == [
            {"stdin": ["true"], "stdout": ["true"], "stderr": ["true"], "container": ["main"],
             "command": ["sh", "-c", script]}
        ]  # fmt: skip


async def test_input_of_any_size_goes_in_and_ends() -> None:
    async with kubelet() as (_, cluster):
        shell = await cluster.exec("a", "p", ["cat"])
        data = bytes(range(256)) * 4000

        async def feed() -> None:
            await shell.write(data[:500_000])
            await shell.write(data[500_000:])
            await shell.write(b"")

        feeding = asyncio.create_task(feed())
        assert (await read_all(shell))["stdout"] == data
        await feeding
        assert await shell.wait() == 0
        await shell.write(b"too late, and no trouble")
        await shell.close()


async def test_output_that_nobody_reads_waits_in_the_container() -> None:
    async with kubelet() as (_, cluster):
        shell = await cluster.exec("a", "p", ["head", "-c", "20000000", "/dev/zero"])
        await asyncio.sleep(0.5)
        assert isinstance(shell, shells.Channel)
        assert shell._outputs.qsize() <= 256
        assert len((await read_all(shell))["stdout"]) == 20_000_000
        assert await shell.wait() == 0
        await shell.close()


async def test_hanging_up_ends_the_command() -> None:
    async with kubelet() as (there, cluster):
        shell = await cluster.exec("a", "p", ["sleep", "60"])
        waiting = asyncio.create_task(shell.wait())
        await asyncio.sleep(0.1)
        await shell.close()
        assert await waiting == -1
        assert await shell.read() is None
        async with asyncio.timeout(PATIENCE):
            while not there.ended:
                await asyncio.sleep(0.01)


async def test_a_terminal_has_a_size() -> None:
    async with kubelet() as (there, cluster):
        shell = await cluster.exec("a", "p", ["cat"], terminal=Terminal(30, 100))
        await shell.resize(Terminal(40, 120))
        await shell.write(b"x")
        assert await shell.read() == Output("stdout", b"x")
        assert there.sizes == [{"Width": 100, "Height": 30}, {"Width": 120, "Height": 40}]
        assert there.queries[0]["tty"] == ["true"]
        assert "stderr" not in there.queries[0]
        await shell.close()


async def test_a_program_that_is_not_there() -> None:
    async with kubelet() as (_, cluster):
        shell = await cluster.exec("a", "p", ["no-such-program"])
        assert b"executable file not found" in (await read_all(shell))["stderr"]
        assert await shell.wait() == 127
        await shell.close()


async def test_pods_that_are_not_there_and_servers_that_are_too_old() -> None:
    async with kubelet() as (_, cluster):
        with pytest.raises(NotFound, match='pods "none" not found'):
            await cluster.exec("a", "none", ["true"])
        with pytest.raises(BackendError, match=r"1\.30 or newer"):
            await cluster.exec("a", "old", ["true"])


async def test_a_connection_that_breaks_is_told() -> None:
    async with kubelet() as (_, cluster):
        shell = await cluster.exec("a", "hangs", ["true"])
        assert (await read_all(shell))["stdout"] == b"some"
        with pytest.raises(Unavailable, match="before the command did"):
            await shell.wait()
        await shell.close()


async def test_no_websocket_comes_of_it() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(200, {})

    async with scripted(script) as there, client(there.url) as cluster:
        with pytest.raises(BackendError, match="proxy"):
            await cluster.exec("a", "p", ["true"])
    async with client("http://127.0.0.1:1") as cluster:
        with pytest.raises(Unavailable):
            await cluster.exec("a", "p", ["true"])


async def test_a_peer_that_answers_no_ping_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "_SILENT_SECONDS", 0.05)

    async def script(asked: Asked) -> None:
        head = "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        asked.writer.write(f"{head}sec-websocket-protocol: {shells.PROTOCOL}\r\n\r\n".encode())
        await asyncio.sleep(10)

    async with scripted(script) as there, client(there.url) as cluster:
        shell = await cluster.exec("a", "p", ["true"])
        with pytest.raises(Unavailable, match="ReadTimeout"):
            await asyncio.wait_for(shell.wait(), PATIENCE)
        await shell.close()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ({"status": "Success"}, 0, ""),
        ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "137"}]}}, 137, ""),
        ({"status": "Failure", "message": "container not running"}, 126, "container not running"),
        ({}, 126, "the command could not be run"),
    ],
)
def test_how_it_ended(status: dict[str, Any], code: int, words: str) -> None:
    assert shells.exit_of(json.dumps(status).encode()) == (code, words)
    assert shells.exit_of(b"not json") == (126, "not json")
