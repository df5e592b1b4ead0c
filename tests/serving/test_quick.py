"""The quick way answers what the long way answers, whatever is asked, and counts the same."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.serving.http.connection import Connection
from modelyard.serving.quick.ride import Ride
from tests.serving.sockless import SIGNATURE, World

BROKEN, NAN, TOO_MANY_ROWS = 98.0, 97.0, 96.0


def chaos(inputs: dict[str, Any]) -> dict[str, Any]:
    """A model that fails by the numbers it gets, whoever shares the call."""
    x = inputs["input"]
    if (x == BROKEN).any():
        raise ValueError("this number will not do")
    answer = np.where(x == NAN, np.float32("nan"), x)
    return {"output": np.concatenate([answer, answer]) if (x == TOO_MANY_ROWS).any() else answer}


def body(*rows: Any, **more: Any) -> bytes:
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    tensor = {"name": "input", "datatype": "FP32", "shape": [len(rows), width], "data": list(rows)}
    return json.dumps({"inputs": [tensor], **more}).encode()


def flat(*values: Any, rows: int = 1) -> bytes:
    shape = [rows, len(values) // rows]
    tensor = {"name": "input", "datatype": "FP32", "shape": shape, "data": list(values)}
    return json.dumps({"inputs": [tensor]}).encode()


def request(content: bytes, *headers: str, path: str = "/v2/models/m/infer") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: h", *headers, f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


BODIES = [
    flat(1.5, 2.25),
    flat(0.1, -3),
    flat(1, 2, 3, 4, rows=2),
    flat(5, 6, 7, 8, 9, 10, rows=3),
    flat(BROKEN, 1),
    flat(NAN, 1),
    flat(1, TOO_MANY_ROWS),
    flat(1, None),
    flat(1, "a"),
    flat(1, True),
    flat(1e39, 1),
    body([1, 2]),
    body([1, 2], [3, 4]),
    body([1], [2, 3]),
    body([1, 2], outputs=[{"name": "output"}]),
    body([1, 2], outputs=[{"name": "nope"}]),
    body([1, 2], id="seven"),
    body([1, 2], parameters={"priority": 1}),
    body([1, 2], parameters={"priority": 77}),
    body([1, 2], parameters={"timeout": 1}),
    b"{not json",
    flat(*[0.25] * 200, rows=4),
]
HEADERS: list[tuple[str, ...]] = [
    (),
    (),
    (),
    ("X-Request-Id: of-the-client",),
    ("X-Request-Id: \xe9t\xe9",),
    ("X-Request-Timeout: 0.0000001",),
    ("X-Request-Timeout: soon",),
    ("X-Request-Priority: 1",),
    ("X-Request-Priority: high",),
    ("Accept-Encoding: gzip",),
    ("Accept-Encoding: gzip, deflate",),
    ("Connection: close",),
    ("Inference-Header-Content-Length: 3",),
]
REQUESTS = st.builds(lambda content, headers: request(content, *headers), st.sampled_from(BODIES),
                     st.sampled_from(HEADERS))  # fmt: skip
ODD = st.sampled_from(
    [
        b"",
        request(BODIES[0]) + request(BODIES[1]),
        request(BODIES[0])[:-3],
        request(BODIES[0])[:20],
        request(BODIES[0], path="/v2/models/nope/infer"),
        b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n",
        b"not HTTP\r\n\r\n",
    ]
)
TURNS = st.lists(st.tuples(*[st.one_of(REQUESTS, REQUESTS, REQUESTS, ODD)] * 3), min_size=1, max_size=7)
_TIMING = re.compile(rb"(?<=;dur=)[0-9.]+")
_IDENTITY = re.compile(rb"[0-9a-f]{12}-[0-9a-f]+")
_DATE = re.compile(rb"(?<=\r\nDate: )[^\r]+")


def said(answer: bytes) -> bytes:
    """An answer without what is another each time."""
    for pattern in (_TIMING, _IDENTITY, _DATE):
        answer = pattern.sub(b"#", answer)
    return answer


def counted(world: World) -> Any:
    """What was counted, but for seconds, and for how requests shared calls."""
    metrics, statistics = world.hosted.metrics, world.hosted.statistics
    histograms = [metrics.request_seconds, metrics.queue_seconds, *metrics.stage_seconds]
    durations = [statistics.success, statistics.fail, statistics.queue, statistics.stages]
    counts = [sum(histogram.counts) for histogram in histograms]
    return metrics.requests, metrics.shed, counts, [each.count for each in durations], statistics.rows


async def told(turns: list[tuple[bytes, ...]], *, draining_from: int, **options: Any) -> Any:
    """All answers, and what was counted."""
    with tempfile.TemporaryDirectory() as home:
        world = World(Path(home), 3, predict=chaos, **options)
        answers = []
        for number, questions in enumerate(turns):
            world.server.draining = number >= draining_from
            answers.append([said(answer) for answer in await world.turn(list(questions))])
        ended = [wire.has_ended for wire in world.wires]
        found = answers, ended, counted(world)
        world.close()
        return found


SIMPLE = (request(BODIES[0]),) * 3


@settings(max_examples=60, deadline=None)
@given(TURNS, st.integers(1, 8))
@example([SIMPLE] * 4, 3)
@example([SIMPLE, SIMPLE, (request(BODIES[4]), request(BODIES[5]), request(BODIES[0]))], 8)
@example([SIMPLE, (request(BODIES[2]), request(BODIES[3]), request(BODIES[0]))] * 2, 8)
@example([SIMPLE, (request(BODIES[0])[:50],) * 3, (request(BODIES[0])[50:],) * 3, SIMPLE], 8)
def test_the_quick_way_answers_as_the_long_way(turns: list[tuple[bytes, ...]], draining_from: int) -> None:
    quick = asyncio.run(told(turns, draining_from=draining_from))
    slow = asyncio.run(told(turns, draining_from=draining_from, quick=False))
    assert quick == slow


TWO = {
    "inputs": SIGNATURE["inputs"],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
        {"name": "odds", "datatype": "FP64", "shape": [-1, 2]},
        {"name": "sure", "datatype": "BOOL", "shape": [-1]},
    ],
}


def several(inputs: dict[str, Any]) -> dict[str, Any]:
    """A model with outputs of many kinds."""
    x = inputs["input"]
    return {
        "label": (x.sum(axis=1) * 2**52).astype("int64"),
        "text": np.array([b'"data":[]'] * len(x), object),
        "odds": x[:, :2].astype("float64") * [1 / 3, 1e300],
        "sure": x[:, 0] > 1,
    }


@pytest.mark.parametrize("wanted", [(), ("label",), ("odds", "label"), ("sure", "odds"), ("text", "label")])
async def test_outputs_of_every_kind_are_written_alike(wanted: tuple[str, ...], tmp_path: Path) -> None:
    more = {"outputs": [{"name": name} for name in wanted]} if wanted else {}
    questions = [request(body([n / 7, 2], [1.5, n], **more)) for n in range(3)]
    found = []
    for quick in (True, False):
        world = World(tmp_path, 3, predict=several, signature=TWO, quick=quick)
        found.append([[said(each) for each in await world.turn(questions)] for _ in range(4)])
        world.close()
    assert found[0] == found[1]
    assert found[0][0][0].startswith(b"HTTP/1.1 200 ")


def rides(world: World) -> list[bool]:
    """Of each connection, whether what it answers came the quick way."""
    return [isinstance(wire.protocol._current, Ride) for wire in world.wires]


async def test_requests_that_differ_in_their_numbers_and_their_length_go_the_quick_way(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, 2)
    await world.turn([request(flat(1, 2))] * 2)
    for values in ((3, 4), (1.25, 77.5), (-1e10, 1), (0.1234567, 0.7654321)):
        world.ask([request(flat(*values))] * 2)
        assert rides(world) == [True, True]
        await world.work()
        for wire in world.wires:
            document = json.loads(wire.taken().partition(b"\r\n\r\n")[2])
            assert np.allclose(document["outputs"][0]["data"], values)
    world.close()


async def test_a_connection_learns_from_another_and_never_holds_it(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    await world.turn([request(flat(1, 2)), b""])
    await world.turn([b"", request(flat(1, 2))])
    world.ask([b"", request(flat(3, 4))])
    assert rides(world) == [False, True]
    await world.work()
    world.close()


async def test_a_client_that_goes_takes_its_request_along(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    await world.turn([request(flat(1, 2))] * 2)
    world.ask([request(flat(3, 4))] * 2)
    connection = world.wires[0].protocol
    assert isinstance(connection, Connection)
    assert connection.busy
    connection.connection_lost(None)
    assert world.hosted.dispatcher.unsettled == 1
    await world.work()
    assert world.wires[0].taken() == b""
    assert world.wires[1].taken().startswith(b"HTTP/1.1 200 ")
    world.close()


async def test_requests_behind_a_quick_one_are_answered_in_their_order(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    await world.turn([request(flat(1, 2))])
    world.ask([request(flat(3, 4))])
    assert rides(world) == [True]
    world.ask([request(flat(5, 6)) + b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"])
    await world.work()
    answers = world.wires[0].taken().split(b"HTTP/1.1 ")[1:]
    assert [b"[3.0,4.0]" in answers[0], b"[5.0,6.0]" in answers[1], b"live" in answers[2]] == [True] * 3
    world.close()


async def test_a_full_queue_turns_quick_requests_away_as_others(tmp_path: Path) -> None:
    world = World(tmp_path, 4, queue=2)
    await world.turn([request(flat(1, 2)), b"", b"", b""])
    await world.turn([b"", *[request(flat(1, 2))] * 2, b""])
    await world.turn([b"", b"", b"", request(flat(1, 2))])
    answers = await world.turn([request(flat(3, 4))] * 4)
    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"503", b"503"]
    assert all(b"x-modelyard-retry: safe" in answer for answer in answers[2:])
    assert world.hosted.metrics.shed == {"QueueFull": 2}
    world.close()


async def test_a_fault_on_the_quick_way_costs_one_request(tmp_path: Path, monkeypatch: Any) -> None:
    world = World(tmp_path, 1)
    await world.turn([request(flat(1, 2))])
    with monkeypatch.context() as patch:
        patch.setattr(world.hosted.dispatcher, "_enqueue", lambda job: 1 / 0)
        assert (await world.turn([request(flat(3, 4))]))[0].startswith(b"HTTP/1.1 500 ")
    assert (await world.turn([request(flat(3, 4))]))[0].startswith(b"HTTP/1.1 200 ")
    world.close()
