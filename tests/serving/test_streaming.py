"""Answers in parts on HTTP/1.1: framing, order, clients that leave or do not read, drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from modelyard.oip.errors import Rejected
from modelyard.oip.model import Events, event
from modelyard.oip.tensor import Tensor
from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.http.server import Server
from modelyard.serving.jobs import Prediction
from modelyard.serving.streaming import MOST_UNSENT_BYTES, EventStream
from tests.support.patience import PATIENCE

ASK = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"


class Door:
    """A server whose exchanges are answered by the test."""

    def __init__(self) -> None:
        self.exchanges: asyncio.Queue[Exchange] = asyncio.Queue()
        self.server = Server(
            self.exchanges.put_nowait,
            lambda problem, exchange: Response(problem.status),
            max_body_bytes=1 << 20,
            idle_seconds=30,
        )
        self.address = ""

    async def ask(self, content: bytes = ASK) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(content)
        return reader, writer


@asynccontextmanager
async def opened() -> AsyncIterator[Door]:
    door = Door()
    door.address = await door.server.listen("127.0.0.1:0")
    yield door
    door.server.close()


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not in time")


def prediction(text: str) -> Prediction:
    return Prediction((Tensor("t", "BYTES", (1,), text.encode()),), 0.0)


def stream_of(exchange: Exchange, part: Callable[[Any], bytes] | None = None) -> EventStream:
    events = Events(
        part or (lambda outputs: event(outputs[0].data)),
        lambda: event(b"[DONE]"),
        lambda document: event(orjson.dumps(document)),
    )
    return EventStream(exchange, events, b"X-Test: 1\r\n", lambda problem: {"error": problem.message})


async def test_parts_arrive_as_they_are_sent_and_the_connection_goes_on() -> None:
    async with opened() as door:
        reader, writer = await door.ask(ASK + ASK)
        exchange = await door.exchanges.get()
        stream = stream_of(exchange)
        assert not stream.has_begun
        stream.part(prediction("one"))
        assert stream.has_begun
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        assert b"Transfer-Encoding: chunked\r\n" in head
        assert b"Content-Length" not in head
        assert b"X-Test: 1\r\n" in head
        assert await reader.readexactly(16) == b"b\r\ndata: one\n\n\r\n"
        assert door.exchanges.empty(), "the next request waits until this answer is complete"
        stream.part(prediction("two"))
        stream.last()
        assert await reader.readexactly(16) == b"b\r\ndata: two\n\n\r\n"
        assert await reader.readuntil(b"0\r\n\r\n") == b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
        second = await door.exchanges.get()
        second.answer(Response(200, (b"{}",)))
        assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 OK")
        writer.close()


async def test_http_1_0_gets_a_body_that_ends_with_the_connection() -> None:
    async with opened() as door:
        reader, _ = await door.ask(b"GET /stream HTTP/1.0\r\n\r\n")
        stream = stream_of(await door.exchanges.get())
        stream.part(prediction("one"))
        stream.last()
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert b"Connection: close" in head
        assert body == b"data: one\n\ndata: [DONE]\n\n"


async def test_an_error_after_the_first_part_is_an_event() -> None:
    async with opened() as door:
        reader, writer = await door.ask()
        stream = stream_of(await door.exchanges.get())
        stream.part(prediction("one"))
        stream.fail(Rejected("", "no form for this"))
        body = await reader.readuntil(b"0\r\n\r\n")
        assert body.endswith(b'data: {"error":"no form for this"}\n\n\r\n0\r\n\r\n')
        stream.part(prediction("dropped"))
        writer.close()


async def test_a_client_that_leaves_is_noticed_and_parts_are_dropped() -> None:
    async with opened() as door:
        _, writer = await door.ask()
        exchange = await door.exchanges.get()
        gone: list[bool] = []
        exchange.on_gone = lambda: gone.append(True)
        stream = stream_of(exchange)
        stream.part(prediction("one"))
        writer.transport.abort()
        await until(lambda: bool(gone))
        assert not stream.has_begun
        stream.part(prediction("two"))
        stream.last()
        assert door.server.connections == 0


async def test_a_client_that_does_not_read_is_given_up_with_bounded_memory() -> None:
    async with opened() as door:
        _, writer = await door.ask()
        exchange = await door.exchanges.get()
        stream = stream_of(exchange)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(4096):
                stream.part(prediction("x" * (1 << 16)))
                sent += 1 << 16
                await asyncio.sleep(0)

        with pytest.raises(Problem, match="read too slowly"):
            await flood()
        assert sent < MOST_UNSENT_BYTES + (32 << 20), "what the kernel buffers, and our bound"
        writer.transport.abort()


async def test_a_drain_waits_for_the_end_of_a_stream() -> None:
    async with opened() as door:
        reader, writer = await door.ask()
        stream = stream_of(await door.exchanges.get())
        stream.part(prediction("one"))
        draining = asyncio.ensure_future(door.server.drain(10))
        await asyncio.sleep(0.5)
        assert not draining.done()
        stream.part(prediction("two"))
        stream.last()
        assert (await reader.readuntil(b"0\r\n\r\n")).count(b"data: ") == 3
        writer.close()
        await asyncio.wait_for(draining, PATIENCE)


async def test_an_answer_begins_once() -> None:
    async with opened() as door:
        reader, writer = await door.ask()
        exchange = await door.exchanges.get()
        exchange.start(Response(200, (b"first",), content_type=b"text/plain"))
        exchange.start(Response(200, (b"second",)))
        exchange.answer(Response(500))
        exchange.end()
        exchange.end()
        assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"5\r\nfirst\r\n0\r\n\r\n")
        writer.close()


def test_a_part_is_never_sent_after_another_answer() -> None:
    class Nowhere:
        def send(self, exchange: Exchange, response: Response) -> None:
            pass

    exchange = Exchange(Nowhere())  # type: ignore[arg-type]
    stream = stream_of(exchange)
    exchange.answer(Response(504))
    stream.part(prediction("late"))
    stream.last()
    assert not stream.has_begun
