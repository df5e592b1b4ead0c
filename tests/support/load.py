"""A constant load of HTTP requests over keep-alive connections, counting every answer that is not 200."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """What came of the requests so far."""

    answers: Counter[str] = field(default_factory=Counter)
    """Status, or the error that came instead, to count."""
    latencies: list[float] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    """When (seconds since the start) and what."""

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    @property
    def failed(self) -> int:
        return self.total - self.answers["200"]

    def quantile(self, share: float) -> float:
        return sorted(self.latencies)[int(share * (len(self.latencies) - 1))]


class Load:
    """`rate` requests a second of one kind, spread over `connections`."""

    def __init__(
        self,
        port: int,
        path: str,
        body: bytes,
        headers: dict[str, str],
        *,
        rate: float,
        connections: int = 8,
        host: str = "",
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        called = host or f"{address}:{port}"
        lines = [f"POST {path} HTTP/1.1", f"host: {called}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self._address, self._port = address, port
        self._how: dict[str, Any] = {"ssl": tls, "server_hostname": host or None} if tls else {}
        self._interval = connections / rate
        self._connections = connections
        self._started = time.monotonic()
        self.outcome = Outcome()

    def again(self) -> Load:
        """The same load with nothing counted yet."""
        fresh = copy.copy(self)
        fresh.outcome = Outcome()
        return fresh

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Outcome]:
        """Send until the block ends; requests in flight then are waited for."""
        stop = asyncio.Event()
        self._started = time.monotonic()
        tasks = [asyncio.create_task(self._connection(stop, n)) for n in range(self._connections)]
        try:
            yield self.outcome
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _connection(self, stop: asyncio.Event, number: int) -> None:
        due = time.monotonic() + self._interval * number / self._connections
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not stop.is_set():
            await asyncio.sleep(max(due - time.monotonic(), 0))
            due = max(due + self._interval, time.monotonic() - 1.0)
            began = time.monotonic()
            try:
                streams = streams or await asyncio.open_connection(self._address, self._port, **self._how)
                status, keep = await asyncio.wait_for(_exchange(*streams, self._request), 30)
                self._count(str(status), began)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                keep = False
                self._count(type(error).__name__, began)
            if not keep and streams is not None:
                streams[1].close()
                streams = None
        if streams is not None:
            streams[1].close()

    def _count(self, answer: str, began: float) -> None:
        now = time.monotonic()
        self.outcome.answers[answer] += 1
        self.outcome.latencies.append(now - began)
        if answer != "200":
            self.outcome.failures.append((round(now - self._started, 3), answer))


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bool]:
    writer.write(request)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    else:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    return int(lines[0].split()[1]), headers.get("connection", "").lower() != "close"
