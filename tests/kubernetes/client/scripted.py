"""An HTTP server that does what a test says, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Asked:
    """One request, and the line to answer it on."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ends: bool = False
    """Whether the connection ends with the answer."""

    async def answer(self, code: int, body: Any = None, **headers: str) -> None:
        """A whole answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {code} X", f"content-length: {len(content)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await self.writer.drain()

    async def begin(self, code: int = 200) -> None:
        """The head of an answer that goes on until the connection ends."""
        self.ends = True
        self.writer.write(f"HTTP/1.1 {code} X\r\nconnection: close\r\n\r\n".encode())
        await self.writer.drain()

    async def more(self, data: bytes) -> None:
        """A piece of such an answer."""
        self.writer.write(data)
        await self.writer.drain()

    def cut(self) -> None:
        """Break the connection."""
        self.writer.transport.abort()


Script = Callable[[Asked], Awaitable[None]]


@dataclass(slots=True)
class Scripted:
    """The server; `asked` is everything it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextlib.asynccontextmanager
async def scripted(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Scripted]:
    """A server that answers each request by the script."""
    there = Scripted("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                asked = await _request(reader, writer)
                there.asked.append(asked)
                await script(asked)
                if writer.is_closing() or asked.ends:
                    return

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    there.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield there
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = head[0].split(" ")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body, reader, writer)
