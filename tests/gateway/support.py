"""Small real servers and clients to try a gateway with."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from modelyard.domain.deployment import Key, Stage
from modelyard.domain.endpoint import AccessKey, Route, Share, Target
from modelyard.gateway.routes import addresses

TOKEN = "mys_a-token-that-opens-the-service"


def access(token: str = TOKEN, *, subject: str = "ann", expires_at: int = 0) -> AccessKey:
    """The key that `token` fits."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return AccessKey(sha256=digest, subject=subject, expires_at=expires_at)


def key(text: str) -> Key:
    """`project/name[@stage]` as a key."""
    project, _, service = text.partition("/")
    name, _, stage = service.partition("@")
    return Key(project, name, Stage(stage or "production"))


def route(name: str, *upstreams: Upstream, public: bool = True, timeout: float = 60.0) -> Route:
    """A route to these upstreams; one that is not public opens with TOKEN."""
    return Route(
        name=name,
        service=key(name).service,
        addresses=addresses(key(name), domain="localhost"),
        shares=(share(name, *upstreams),),
        keys=(access(),),
        public=public,
        timeout_seconds=timeout,
    )


def share(name: str, *upstreams: Upstream, weight: int = 100) -> Share:
    """These upstreams as the replicas of a service, or of one revision `project/name#3`."""
    targets = tuple(Target(replica=u.name, address=u.address, revision=7) for u in upstreams)
    return Share(name=name, targets=targets, weight=weight)


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived at an upstream."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = tuple[int, dict[str, str], bytes]


@dataclass(slots=True, eq=False)
class Upstream:
    """A server of HTTP/1.1, and HTTP/2 in short, that behaves as a serving front does, also in a drain."""

    name: str
    address: str
    server: asyncio.Server
    answer: Callable[[Request], Answer]
    seen: list[Request] = field(default_factory=list)
    draining: bool = False
    busy: int = 0
    gate: asyncio.Event | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    async def start(
        cls,
        directory: Path,
        name: str,
        answer: Callable[[Request], Answer] | None = None,
        *,
        tcp: bool = False,
        host: str = "127.0.0.1",
    ) -> Upstream:
        """Listen on a Unix socket in `directory`, or on a port of `host`."""
        upstream: Upstream

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await upstream.converse(reader, writer)

        if tcp:
            server = await asyncio.start_server(connected, host, 0)
            address = f"{host}:{server.sockets[0].getsockname()[1]}"
        else:
            path = directory / f"{name}.sock"
            server = await asyncio.start_unix_server(connected, path)
            address = f"unix:{path}"
        upstream = cls(name, address, server, answer or (lambda request: _named(name, request)))
        return upstream

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until it ends."""
        self.writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            first = await reader.readexactly(3)
            if first == b"PRI":
                await self._converse_http2(reader, writer)
                return
            while await self._exchange(reader, writer, first):
                first = b""
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writers.discard(writer)
            self.tasks.discard(task)
            writer.close()

    async def drain(self) -> None:
        """Refuse new work so that it goes elsewhere, finish what has begun, then close."""
        self.draining = True
        while self.busy:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
        await self.kill()

    async def kill(self) -> None:
        """Be gone at once."""
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()
        for task in self.tasks:
            # One that a test holds back would wait for ever once the test has failed.
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _converse_http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on an HTTP/2 connection whose first three bytes are read."""
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        heads: dict[int, dict[str, str]] = {}
        data = b"PRI"
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    heads[event.stream_id] = {n.decode(): v.decode() for n, v in event.headers}
                elif isinstance(event, StreamEnded):
                    self._answer_http2(connection, event.stream_id, heads.pop(event.stream_id))
            writer.write(connection.data_to_send())
            await writer.drain()
            data = await reader.read(1 << 16)

    def _answer_http2(self, connection: H2Connection, stream: int, head: dict[str, str]) -> None:
        headers = {name: value for name, value in head.items() if not name.startswith(":")}
        request = Request(head[":method"], head[":path"], {"host": head[":authority"], **headers}, b"")
        self.seen.append(request)
        status, more, body = self.answer(request)
        connection.send_headers(stream, [(":status", str(status)), *more.items()])
        connection.send_data(stream, body, end_stream=True)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: bytes
    ) -> bool:
        request = await _read(reader, begun)
        self.seen.append(request)
        if self.draining:
            refusal = {"x-modelyard-retry": "safe", "connection": "close", "retry-after": "1"}
            writer.write(_written((503, refusal, b"draining")))
            await writer.drain()
            return False
        self.busy += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            writer.write(_written(self.answer(request)))
            await writer.drain()
        finally:
            self.busy -= 1
        return True


async def _read(reader: asyncio.StreamReader, begun: bytes) -> Request:
    head = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


def _named(name: str, request: Request) -> Answer:
    body = {"replica": name, "path": request.path, "headers": request.headers, "size": len(request.body)}
    return 200, {"content-type": "application/json"}, json.dumps(body).encode()


def _written(answer: Answer) -> bytes:
    status, headers, body = answer
    lines = [f"HTTP/1.1 {status} Answer", *(f"{k}: {v}" for k, v in headers.items())]
    lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
