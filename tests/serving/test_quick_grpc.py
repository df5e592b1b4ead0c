"""Calls over gRPC on the quick way are answered as those on the long way, whatever stands around them."""

from __future__ import annotations

import asyncio
import re
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.oip.grpc import inference_pb2 as pb
from modelyard.serving.grpc.calls import Calls
from modelyard.serving.grpc.quick import CallStream
from tests.serving.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    number,
)
from tests.serving.sockless import World
from tests.serving.test_quick import BROKEN, NAN, TOO_MANY_ROWS, TWO, chaos, counted, several

_CHANGING = re.compile(r"(?<=;dur=)[0-9.]+|[0-9a-f]{12}-[0-9a-f]+")


def message(*values: float, rows: int = 1, **more: Any) -> bytes:
    raw = struct.pack(f"<{len(values)}f", *values)
    made = pb.ModelInferRequest(model_name="m", raw_input_contents=[raw], **more)
    made.inputs.add(name="input", datatype="FP32", shape=[rows, len(values) // rows])
    return bytes(made.SerializeToString())


def wanting(*names: str) -> bytes:
    made = pb.ModelInferRequest.FromString(message(1.5, 2))
    for name in names:
        made.outputs.add(name=name)
    return bytes(made.SerializeToString())


MESSAGES = [
    message(1, 2),
    message(3, 4),
    message(1, 2, 3, 4, rows=2),
    message(BROKEN, 1),
    message(NAN, 1),
    message(TOO_MANY_ROWS, 1),
    message(1, 2, id="seven"),
    message(1, 2, model_version="9"),
    wanting("output"),
    wanting("nope"),
    message(1, 2)[:-1],
    b"",
    b"\xff\xff",
]
HEADS: list[dict[str, str]] = [
    {},
    {},
    {},
    {"x-request-id": "of-the-client"},
    {"grpc-timeout": "9S"},
    {"grpc-timeout": "1n"},
    {"grpc-timeout": "soon"},
    {"content-length": "12"},
    {"grpc-encoding": "gzip"},
]
CALL = st.tuples(
    st.just("call"), st.sampled_from(MESSAGES), st.sampled_from(HEADS), st.sampled_from([0, 0, 0, 1, 7])
)
OTHER = st.sampled_from([("reset",), ("ping",), ("window",), ("small",), ("wide",), ("nothing",)])
Action = tuple[Any, ...]
STEPS = st.lists(
    st.tuples(*[st.lists(st.one_of(CALL, CALL, CALL, OTHER), max_size=3)] * 2), min_size=1, max_size=6
)


class Script:
    """What one client sends, step by step."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()
        self._next = 1

    def said(self, actions: Sequence[Action]) -> list[bytes]:
        """The pieces in which it comes."""
        pieces: list[bytes] = [b""]
        for action in actions:
            if action[0] != "call":
                pieces[-1] += self._other(action[0])
                continue
            data = self._call(*action[1:3])
            cut = action[3]
            pieces[-1] += data[:-cut] if cut else data
            if cut:
                pieces.append(data[-cut:])
        return pieces

    def _call(self, content: bytes, more: dict[str, str]) -> bytes:
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "h")]
        fields += [
            (":path", "/inference.GRPCInferenceService/ModelInfer"),
            ("content-type", "application/grpc"),
        ]
        block = self._encoder.encode([*fields, ("te", "trailers"), *more.items()])
        stream, self._next = self._next, self._next + 2
        payload = b"\0" + number(len(content)) + content
        head = frame(HEADERS, END_HEADERS, stream, block)
        return head + frame(DATA, END_STREAM, stream, payload)

    def _other(self, what: str) -> bytes:
        return {
            "reset": frame(RST_STREAM, 0, self._next - 2, number(8)) if self._next > 1 else b"",
            "ping": frame(PING, 0, 0, b"12345678"),
            "window": frame(WINDOW_UPDATE, 0, 0, number(1000)),
            "small": frame(SETTINGS, 0, 0, b"\x00\x04" + number(20)),
            "wide": frame(SETTINGS, 0, 0, b"\x00\x04" + number(70_000)),
            "nothing": b"",
        }[what]


def frames_of(data: bytes, decoder: hpack.Decoder) -> list[Any]:
    """Frames without what is another each time; their order on a stream, not among streams, is promised."""
    found: list[Any] = []
    while data:
        size, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
        stream, payload = int.from_bytes(data[5:9], "big"), data[9 : 9 + size]
        data = data[9 + size :]
        if kind == HEADERS:
            fields = [(name, _CHANGING.sub("#", value)) for name, value in decoder.decode(payload)]
            found.append((stream, kind, flags, fields))
        else:
            found.append((stream, kind, flags, payload))
    return sorted(found, key=lambda each: each[0])


async def told(steps: Sequence[Sequence[Sequence[Action]]], **options: Any) -> Any:
    """All answers, and what was counted."""
    with tempfile.TemporaryDirectory() as home:
        world = World(Path(home), 2, **{"predict": chaos, **options})
        scripts, decoders = [Script(), Script()], [hpack.Decoder(), hpack.Decoder()]
        await world.turn([PREFACE + frame(SETTINGS)] * 2)
        answers = []
        for step in steps:
            pieces = [script.said(actions) for script, actions in zip(scripts, step, strict=True)]
            for at in range(max(map(len, pieces))):
                world.ask([piece[at] if at < len(piece) else b"" for piece in pieces])
            await world.work()
            heard = [wire.taken() for wire in world.wires]
            answers.append([frames_of(data, d) for data, d in zip(heard, decoders, strict=True)])
        found = answers, counted(world)
        world.close()
        return found


def both(steps: Sequence[Sequence[Sequence[Action]]], **options: Any) -> tuple[Any, Any]:
    """What is told the quick way and the long way."""
    quick = asyncio.run(told(steps, **options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Calls, "plan", lambda self, head: None)
        return quick, asyncio.run(told(steps, **options))


PLAIN = ("call", MESSAGES[0], {}, 0)


@settings(max_examples=50, deadline=None)
@given(STEPS)
@example([[[PLAIN] * 3, [PLAIN]]] * 3)
@example([[[PLAIN] * 3, [PLAIN]], [[PLAIN, ("reset",), PLAIN], [("ping",), PLAIN, ("window",), PLAIN]]])
@example([[[PLAIN] * 3, [PLAIN]], [[("small",), PLAIN], [PLAIN]], [[("wide",), PLAIN], [PLAIN]]])
def test_the_quick_way_answers_as_the_long_way(steps: Any) -> None:
    quick, slow = both(steps)
    assert quick == slow


@pytest.mark.parametrize("wanted", [(), ("label",), ("odds", "label"), ("sure", "odds"), ("text", "label")])
def test_outputs_of_every_kind_are_written_alike(wanted: tuple[str, ...]) -> None:
    asked = [("call", wanting(*wanted), {}, 0)] * 3
    quick, slow = both([[asked, asked]] * 3, predict=several, signature=TWO)
    assert quick == slow
    assert [each[1] for each in quick[0][2][0]] == [HEADERS, DATA, HEADERS] * 3


async def test_calls_like_earlier_ones_are_streams_and_receivers_in_one(tmp_path: Path) -> None:
    world, script = World(tmp_path, 1), Script()
    await world.turn([PREFACE + frame(SETTINGS)])
    for _ in range(2):
        # The first fills the table of headers, the second is remembered.
        await world.turn(script.said([PLAIN]))
    world.ask(script.said([PLAIN, ("ping",), PLAIN]))
    connection = world.wires[0].protocol
    assert [type(stream) for stream in connection._in.streams.values()] == [CallStream] * 2
    assert connection.busy
    connection.connection_lost(None)
    assert world.hosted.dispatcher.unsettled == 0
    world.close()
