"""A large tensor is copied once into the worker's memory and once into the answer's, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.oip.tensor import Tensor
from modelyard.serving.batching.merging import gather, split
from modelyard.serving.errors import Problem
from modelyard.serving.http import large, reading
from modelyard.serving.http.large import BUDGET, HEAD_BYTES
from modelyard.serving.http.reading import Reader
from modelyard.serving.workers.slots import COUNT, LEAST_FREE, Slots
from tests.serving.traced import SIZE, asked


def test_the_front_has_a_large_request_in_memory_once_and_its_answer_never(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.serving.traced", str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    most = int(said.stdout.splitlines()[-1])
    assert SIZE <= most < 1.2 * SIZE


def test_an_answer_is_looked_at_where_the_worker_put_it_until_the_last_one_has_looked() -> None:
    slots = Slots()
    taken = [slots.take() for _ in range(COUNT - LEAST_FREE)]
    lent = slots.lend(taken[0], 0)
    assert lent is None
    region = slots._pairs[taken[0]][1]
    region.reserve(8 * 30_000)[:] = np.arange(30_000.0).tobytes()
    lent = slots.lend(taken[0], 8 * 30_000)
    assert lent is not None
    (first,), (second,) = split([Tensor("y", "FP64", (3, 10_000), lent)], [1, 2]) or ()
    assert np.frombuffer(first.data)[-1] == 9_999
    assert np.frombuffer(second.data)[0] == 10_000
    free = len(slots._free)
    del lent, first
    assert len(slots._free) == free
    region.reserve(8)[:] = np.array([-1.0]).tobytes()
    assert np.frombuffer(second.data)[0] == 10_000
    assert slots.may_lend
    del second
    assert len(slots._free) == free + 1
    # What is looked at when the worker is gone stays until it was looked at.
    view = slots.lend(taken[1], 8) if region.reserve(8) and slots._pairs[taken[1]][1].reserve(8) else None
    slots.close()
    assert view is not None
    assert bytes(view) == bytes(8)


def test_requests_that_share_a_call_are_joined_where_the_worker_reads_them() -> None:
    tensors = [(Tensor("x", "FP64", (1, 10_000), np.full(10_000, n).tobytes()),) for n in range(3)]
    (pieces,) = gather(tensors)
    assert all(part is given.data for part, (given,) in zip(pieces.parts, tensors, strict=True))
    slots = Slots()
    slot = slots.take()
    slots.write(slot, [0], [pieces.parts], pieces.size)
    seen = bytes(slots._pairs[slot][0].reserve(pieces.size))
    assert seen == pieces.joined().data
    slots.close()


# Bodies that are read straight to their places are those that are read in pieces.

BINARY = b"Inference-Header-Content-Length: 2\r\n"
HEADS = st.sampled_from(
    [
        b"POST /a/infer HTTP/1.1\r\n" + BINARY + b"Content-Length: %d\r\n\r\n",
        b"POST /a/infer?b HTTP/1.1\r\n" + BINARY + b"X-Request-Id: 7\r\nContent-Length: %d\r\n\r\n",
        b"POST /a HTTP/1.1\r\n" + BINARY + b"Content-Length: %d\r\n\r\n",
        b"POST /a/infer HTTP/1.1\r\n" + BINARY + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n",
        b"POST /a/infer HTTP/1.0\r\n" + BINARY + b"Connection: keep-alive\r\nContent-Length: %d\r\n\r\n",
        b"POST /a/infer HTTP/1.1\r\n" + BINARY + b"Connection: close\r\nContent-Length: %d\r\n\r\n",
    ]
)
REQUESTS = st.lists(st.tuples(HEADS, st.integers(0, 400)), min_size=1, max_size=6)


class Piecemeal(Reader):
    """A reader that never makes room."""

    def _take_large(self, data: bytes) -> bool:
        return False

    def _make_room(self, data: bytes) -> None:
        """Leave it to the parser."""


@settings(max_examples=100, deadline=None)
@given(REQUESTS, st.lists(st.integers(1, 250), min_size=1, max_size=12))
def test_a_body_read_to_its_place_is_the_body_read_in_pieces(
    requests: list[tuple[bytes, int]], cuts: list[int]
) -> None:
    stream = b"".join(head % size + bytes(n % 251 for n in range(size)) for head, size in requests)
    before, reading.is_large = reading.is_large, lambda announced, come: 60 <= announced <= 300 > come
    try:
        assert read(Reader(None, max_body_bytes=350), stream, cuts) == read(  # type: ignore[arg-type]
            Piecemeal(None, max_body_bytes=350),  # type: ignore[arg-type]
            stream,
            cuts,
        )
    finally:
        reading.is_large = before
    assert BUDGET.take(large.MOST_AWAITED_BYTES)
    BUDGET.give(large.MOST_AWAITED_BYTES)


def read(reader: Reader, stream: bytes, cuts: list[int]) -> list[Any]:
    """What is read of a stream that comes in pieces of these sizes."""
    seen: list[Any] = []
    problem: Problem | None = None
    at = turn = 0
    while at < len(stream) and problem is None:
        size = cuts[turn % len(cuts)]
        turn += 1
        if reader.room is not None:
            rest = reader.room.rest()
            part = stream[at : at + min(size, len(rest))]
            rest[: len(part)] = part
            reader.arrived(len(part))
        else:
            part = stream[at : at + size]
            problem = reader.feed(part)
        at += len(part)
        seen += [(e.method, e.target, e.headers, bytes(e.body), e.keep_alive, e.old) for e in reader.complete]
        reader.complete.clear()
    if reader.room is not None:
        reader.room.leave()
    return [*seen, problem and (problem.status, problem.message)]


def test_little_of_a_large_body_comes_with_its_head() -> None:
    request = asked(1.0)
    reader = Reader(None, max_body_bytes=1 << 20)  # type: ignore[arg-type]
    for _ in range(2):
        assert reader.feed(request[:HEAD_BYTES]) is None
        assert reader.room is not None
        assert len(reader.room.rest()) == len(request) - HEAD_BYTES
        reader.room.rest()[:] = request[HEAD_BYTES:]
        place = reader.room.body
        reader.arrived(len(request) - HEAD_BYTES)
        (exchange,) = reader.complete
        reader.complete.clear()
        assert exchange.body is place
        assert request.endswith(exchange.body)
