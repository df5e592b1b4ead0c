"""Slow clients are cut off; on a clock of our own, with real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from math import inf

import pytest

from modelyard.serving.errors import Problem
from modelyard.serving.http import connection as module
from modelyard.serving.http import server as server_module
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.http.server import Server


@pytest.fixture(autouse=True)
def hurried() -> Iterator[None]:
    """The same limits, a hundred times shorter."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEAD_SECONDS", "BODY_SECONDS", "WRITE_SECONDS", "LINGER_SECONDS"):
            patch.setattr(module, name, getattr(module, name) / 100)
        patch.setattr(module, "BODY_BYTES_PER_SECOND", inf)
        patch.setattr(server_module, "SWEEP_SECONDS", 0.01)
        yield


def application(exchange: Exchange) -> None:
    size = 16 << 20 if exchange.target == b"/large" else 2
    exchange.answer(Response(200, (bytes(size),)))


def refuse(problem: Problem, exchange: Exchange) -> Response:
    return Response(problem.status, (problem.message.encode(),))


async def listening(idle: float = 0.05) -> tuple[Server, str]:
    server = Server(application, refuse, max_body_bytes=1000, idle_seconds=idle)
    return server, await server.listen("127.0.0.1:0")


async def opened(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.partition(":")
    return await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET / HT", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab", b"HTTP/1.1 408"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200"),
    ],
)
async def test_a_client_that_does_not_go_on_is_let_go(sent: bytes, answer: bytes) -> None:
    server, address = await listening()
    reader, writer = await opened(address)
    writer.write(sent)
    assert (await asyncio.wait_for(reader.read(), 20)).startswith(answer)
    writer.close()
    server.close()


async def test_a_client_that_drips_its_head_gains_nothing() -> None:
    server, address = await listening()
    reader, writer = await opened(address)
    dripped = 0
    while not reader.at_eof() and dripped < 500:
        writer.write(b"G" if dripped == 0 else b"E")
        dripped += 1
        await asyncio.sleep(0.01)
        if server.connections == 0:
            break
    assert dripped < 100
    writer.close()
    server.close()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    server, address = await listening()
    _, writer = await opened(address)
    writer.write(b"GET /large HTTP/1.1\r\n\r\n" * 4)
    for _ in range(300):
        await asyncio.sleep(0.01)
        if server.connections == 0:
            break
    assert server.connections == 0
    writer.close()
    server.close()


async def test_a_client_that_never_closes_is_closed_after_the_last_answer() -> None:
    server, address = await listening(idle=60)
    reader, writer = await opened(address)
    writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 200")
    for _ in range(300):
        await asyncio.sleep(0.01)
        if server.connections == 0:
            break
    assert server.connections == 0
    writer.close()
    server.close()


async def test_connections_beyond_the_limit_are_told_to_come_again() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_module, "MOST_CONNECTIONS", 1)
        server, address = await listening(idle=60)
        first = await opened(address)
        reader, writer = await opened(address)
        assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 503")
        first[1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await asyncio.wait_for(first[0].readline(), 20)).startswith(b"HTTP/1.1 200")
        for stream in (writer, first[1]):
            stream.close()
        server.close()
