"""Whatever bytes come, the replica stays: no traceback, no answer of 5xx, nothing held afterwards."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.calls import SERVICE, request
from tests.serving.frames import PREFACE, client, frame, number
from tests.serving.replicas import Replica, replica

_KINDS = st.one_of(st.integers(0, 9), st.integers(0, 255))
_STREAMS = st.one_of(st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7]), st.integers(0, 2**31 - 1))
_HEADS = [
    [(":method", "POST"), (":scheme", "http"), (":path", "/v2/models/echo/infer")],
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/{SERVICE}/ModelInfer"),
        ("content-type", "application/grpc"),
    ],
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/{SERVICE}/ModelStreamInfer"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "1S"),
    ],
    [(":method", "GET"), (":scheme", "http"), (":path", "/livez"), ("content-length", "x")],
]
_BLOCKS = st.one_of(
    st.sampled_from([hpack.Encoder().encode(head) for head in _HEADS]),
    st.binary(max_size=60),
)
_NUMBERS = st.integers(0, 2**32 - 1)
_KINDS_OF_CALLS = ["ModelInfer", "ModelStreamInfer", "ModelMetadata", "RepositoryIndex"]
_MESSAGE = request(1, 2).SerializeToString()


def _mangled(at: int, byte: int) -> bytes:
    message = _MESSAGE[:at] + bytes((byte,)) + _MESSAGE[at + 1 :]
    return struct.pack(">BI", 0, len(message)) + message


_BODIES = st.one_of(
    st.just(struct.pack(">BI", 0, len(_MESSAGE)) + _MESSAGE),
    st.binary(max_size=40),
    st.builds(
        lambda n, rest: struct.pack(">BI", n % 3, n) + rest, st.integers(0, 2**32 - 1), st.binary(max_size=30)
    ),
    st.builds(lambda at, byte: _mangled(at, byte), st.integers(0, len(_MESSAGE) - 1), st.integers(0, 255)),
    st.builds(_mangled, st.integers(0, len(_MESSAGE) - 1), st.integers(0, 255)),
)
_FRAMES = st.one_of(
    st.builds(frame, _KINDS, st.integers(0, 255), _STREAMS, st.binary(max_size=40)),
    st.builds(frame, st.just(1), st.sampled_from([0, 1, 4, 4, 5, 12, 36]), _STREAMS, _BLOCKS),
    st.builds(frame, st.just(0), st.sampled_from([0, 1, 1, 8, 9]), _STREAMS, _BODIES),
    st.builds(frame, st.just(8), st.just(0), _STREAMS, _NUMBERS.map(number)),
    st.builds(frame, st.just(3), st.just(0), _STREAMS, st.just(bytes(4))),
    st.builds(
        frame,
        st.just(4),
        st.just(0),
        st.just(0),
        st.builds(struct.pack, st.just(">HI"), st.integers(0, 8), st.integers(0, 2**32 - 1)),
    ),
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Replica]:
    with replica(limits={"max_body_bytes": 1 << 20}) as running:
        yield running
        gauges = {
            line.split("{")[0]: float(line.rpartition(" ")[2])
            for line in running.call("GET", "/metrics").body.decode().splitlines()
            if line.startswith(("modelyard_inflight{", "modelyard_queue_depth{", "modelyard_connections{"))
        }
        assert gauges["modelyard_inflight"] == gauges["modelyard_queue_depth"] == 0
        assert gauges["modelyard_connections"] == 1
        assert running.infer(1).status == 200


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(_FRAMES, max_size=12), cut=st.integers(1, 40), greets=st.booleans())
def test_frames_of_any_kind_do_no_harm(fuzzed: Replica, said: list[bytes], cut: int, greets: bool) -> None:
    data = (PREFACE + frame(4) if greets else PREFACE) + b"".join(said)
    with contextlib.closing(fuzzed.connect(5)) as sock, contextlib.suppress(OSError):
        for at in range(0, len(data), cut * 16):
            sock.sendall(data[at : at + cut * 16])
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass
    assert "traceback" not in fuzzed.log.lower()
    assert "Fatal error" not in fuzzed.log
    assert '"event":"fault"' not in fuzzed.log


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_BODIES, kind=st.sampled_from(_KINDS_OF_CALLS))
def test_messages_of_any_kind_are_answered_or_refused(fuzzed: Replica, body: bytes, kind: str) -> None:
    with client(fuzzed) as user:
        user.ask(1, f"/{SERVICE}/{kind}", body, content_type="application/grpc")
        headers, _ = user.answer(1)
    assert headers["grpc-status"] in ("0", "3", "5", "8"), headers
    assert '"event":"fault"' not in fuzzed.log
