"""Patience with HTTP/2 clients ends in time: shown on a connection whose clock the test turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
import pytest

from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange, Response, json_response
from modelyard.serving.http2.connection import Http2Connection
from modelyard.serving.http2.headers import Head
from modelyard.serving.http2.requests import Request
from modelyard.serving.http2.stream import Receiver, Stream
from tests.serving.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    number,
)


class Clock:
    """A loop that does at once what is due soon."""

    now = 100.0

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.due.append((call, arguments))

    def __init__(self) -> None:
        self.due: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def turn(self) -> None:
        due, self.due = self.due, []
        for call, arguments in due:
            call(*arguments)


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.state = "open"
        self.reads = True

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        self.written += b"".join(parts)

    def is_closing(self) -> bool:
        return self.state == "aborted"

    def get_extra_info(self, name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.state = "ended"

    def abort(self) -> None:
        self.state = "aborted"

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Host:
    """Answers every request with ten bytes."""

    max_body_bytes = 1 << 20
    idle_seconds = 60.0
    draining = False
    date = b"now"

    def application(self, exchange: Exchange) -> None:
        exchange.answer(Response(200, (b"0123456789",)))

    def refuse(self, problem: Problem, exchange: Exchange) -> Response:
        del exchange
        return json_response({"error": problem.message}, problem.status)

    def opened(self, connection: object) -> bool:
        return True

    def closed(self, connection: object) -> None:
        return None


class Place:
    """A connection, its clock and its transport."""

    def __init__(self, settings: bytes = b"") -> None:
        self.clock, self.transport = Clock(), Transport()
        loop: Any = self.clock
        transport: Any = self.transport
        host = Host()

        def receive(head: Head, stream: Stream) -> Receiver:
            request = Request(host, loop, head, stream)
            request.begin()
            return request

        self.connection = Http2Connection(host, loop, receive)
        self.connection.connection_made(transport)
        self.say(PREFACE + frame(SETTINGS, 0, 0, settings))

    def say(self, data: bytes) -> None:
        self.connection.data_received(data)
        self.clock.turn()

    def later(self, seconds: float) -> None:
        """Turn the clock, and sweep as the server does."""
        self.transport.written = b""
        self.clock.now += seconds
        if self.connection.deadline <= self.clock.now:
            self.connection.cut()
        self.clock.turn()

    @property
    def kinds(self) -> list[int]:
        """Kinds of the frames that were written since the clock was turned."""
        data, kinds = self.transport.written, []
        while data:
            kinds.append(data[3])
            data = data[9 + int.from_bytes(data[:3], "big") :]
        return kinds


def head(method: str = "POST") -> bytes:
    fields = [(":method", method), (":scheme", "http"), (":path", "/x"), (":authority", "x")]
    return hpack.Encoder().encode(fields)


def test_a_head_that_does_not_go_on_ends_the_connection() -> None:
    place = Place()
    place.say(frame(HEADERS, 0, 1, head()[:4]))
    place.later(9)
    assert place.transport.state == "open"
    place.later(2)
    assert (place.kinds, place.transport.state) == ([GOAWAY], "ended")


def test_a_body_that_does_not_go_on_is_answered_and_others_are_not_touched() -> None:
    place = Place()
    place.say(frame(HEADERS, END_HEADERS, 1, head()) + frame(DATA, 0, 1, bytes(10)))
    place.later(29)
    assert place.kinds == []
    place.later(2)
    assert place.kinds == [HEADERS, DATA]
    assert b"did not arrive in time" in place.transport.written
    place.later(3)
    assert place.kinds == [RST_STREAM]
    place.transport.written = b""
    place.say(frame(HEADERS, END_HEADERS | END_STREAM, 3, head("GET")))
    assert place.kinds == [HEADERS, DATA]


def test_a_body_that_comes_quickly_enough_has_more_time() -> None:
    place = Place()
    place.say(frame(HEADERS, END_HEADERS, 1, head()))
    for _ in range(30):
        place.later(1.2)
        place.say(frame(DATA, 0, 1, bytes(60_000)) if place.clock.now < 112 else frame(DATA, 0, 1, b"x"))
        assert HEADERS not in place.kinds


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    place = Place(b"\x00\x04" + number(4))
    place.say(frame(HEADERS, END_HEADERS | END_STREAM, 1, head("GET")))
    place.later(29)
    assert place.kinds == []
    place.later(2)
    assert place.kinds == [RST_STREAM]
    assert not place.connection.busy


def test_a_socket_that_takes_nothing_is_cut_off_and_not_read_meanwhile() -> None:
    place = Place()
    place.connection.pause_writing()
    assert not place.transport.reads
    place.later(29)
    assert place.transport.state == "open"
    place.later(2)
    assert place.transport.state == "aborted"


def test_a_connection_at_rest_is_closed_and_a_ping_keeps_it() -> None:
    place = Place()
    place.later(50)
    place.say(frame(6, 0, 0, bytes(8)))
    place.later(50)
    assert place.transport.state == "open"
    place.later(11)
    assert (place.kinds, place.transport.state) == ([GOAWAY], "ended")
    place.later(2)
    assert place.transport.state == "aborted"


def test_nothing_after_the_preface_is_not_waited_for() -> None:
    place = Place()
    silent = Http2Connection(Host(), place.clock, lambda head, stream: None)  # type: ignore[arg-type]
    silent.connection_made(Transport())  # type: ignore[arg-type]
    assert silent.deadline == pytest.approx(place.clock.now + 10)
    silent.connection_lost(None)
    assert silent.deadline == float("inf")
