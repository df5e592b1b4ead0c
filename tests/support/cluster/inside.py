"""Our client, and the API server, in one process without a socket between them: works on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.client.queue import Limits
from tests.support.cluster.server import Server

HASTE = Limits(per_second=100_000, burst=100_000, at_once=64)
WRITES = ("POST", "PUT", "PATCH", "DELETE")
Message = MutableMapping[str, Any]


class Lost(Exception):
    """The process that asked is gone; nobody hears the answer."""


def client(server: Server, *, clock: Callable[[], float], wire: Wire | None = None) -> Cluster:
    """A client whose connections lead straight into the server."""
    url = "http://cluster.test"
    cluster = Cluster(Access(server=url), clock=clock, dice=lambda: 0.5, limits=HASTE)
    transport = cluster._transport
    transport._client = httpx2.AsyncClient(base_url=url, transport=wire or Wire(server), timeout=30.0)
    return cluster


@dataclass(slots=True)
class Wire(httpx2.AsyncBaseTransport):
    """Carries requests into the server; `written` is called after each write that was carried out."""

    server: Server
    before: Callable[[str, str], Awaitable[None]] | None = None
    """Called with method and path before a request gets there; may raise or wait."""
    written: Callable[[str, str], Awaitable[None]] | None = None
    """Called with method and path when a write was carried out and nobody knows it yet; may raise or wait."""
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request and its answer, which is told as it comes."""
        if self.before is not None:
            await self.before(request.method, request.url.path)
        exchange = _Exchange(await request.aread())
        task = asyncio.create_task(exchange.run(self.server, request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        start = await exchange.begun()
        if request.method in WRITES and start["status"] < 300 and self.written is not None:
            await self.written(request.method, request.url.path)
        headers = [(name.decode(), value.decode()) for name, value in start["headers"]]
        return httpx2.Response(start["status"], headers=headers, stream=_Stream(exchange, task))


@dataclass(slots=True)
class _Exchange:
    """A request inside the server."""

    body: bytes
    said: asyncio.Queue[Message | None] = field(default_factory=asyncio.Queue)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False

    async def run(self, server: Server, request: httpx2.Request) -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method,
            "scheme": "http", "path": request.url.path, "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query, "root_path": "", "client": None, "server": None,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }  # fmt: skip
        try:
            await server.app(scope, self._receive, self.said.put)
        except ConnectionResetError:
            pass
        finally:
            self.said.put_nowait(None)

    async def begun(self) -> Message:
        """The head of the answer; a connection that breaks before is an error of the network."""
        message = await self.said.get()
        if message is None:
            raise httpx2.ReadError("the connection was closed")
        return message

    async def _receive(self) -> Message:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, exchange: _Exchange, task: asyncio.Task[None]) -> None:
        self._exchange, self._task = exchange, task

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._exchange.said.get()) is not None:
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return
        raise httpx2.ReadError("the connection was closed")

    async def aclose(self) -> None:
        self._exchange.gone.set()
        self._task.cancel()
