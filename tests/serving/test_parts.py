"""The front's parts by themselves: queue, frames, shared memory, metrics, reader, exits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.oip.tensor import Tensor
from modelyard.serving.config import parse_config
from modelyard.serving.dispatcher import Dispatcher, Rules
from modelyard.serving.errors import ConfigInvalid, Failure, Problem
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.http.reading import Reader
from modelyard.serving.jobs import Job, Prediction, Work
from modelyard.serving.metrics import Histogram, Metrics, render
from modelyard.serving.workers.exits import explain_exit
from modelyard.serving.workers.frames import NotAFrame, Splitter, frame, needed, padded, read_tensors
from modelyard.serving.workers.slots import Region, Slots, placed


class Runner:
    """A worker that does nothing until told."""

    def __init__(self, depth: int = 1) -> None:
        self.depth = depth
        self.calls: list[Work] = []
        self.abandoned: list[Work] = []

    @property
    def load(self) -> int:
        return len(self.calls)

    parallel = 1

    @property
    def has_room(self) -> bool:
        return len(self.calls) < self.depth

    @property
    def jobs(self) -> list[Job]:
        return [job for work in self.calls for job in work.jobs]

    def begin(self, work: Work) -> None:
        self.calls.append(work)

    def abandon(self, work: Work) -> None:
        self.abandoned.append(work)


def job(outcomes: list[Any], seconds: float = 60.0) -> Job:
    now = monotonic()
    return Job((), {}, now + seconds, seconds, now, outcomes.append)


async def dispatcher(*runners: Runner, limit: int = 2) -> Dispatcher:
    made = Dispatcher(asyncio.get_running_loop(), Rules(limit=limit, limit_bytes=1000))
    made.obstacle = None
    for runner in runners:
        made.attach(runner)
    return made


async def test_jobs_are_begun_in_order_by_the_freest_worker() -> None:
    one, two = Runner(2), Runner(2)
    queue = await dispatcher(one, two)
    jobs = [job([]) for _ in range(5)]
    for item in jobs:
        queue.submit(item)
    assert one.jobs == [jobs[0], jobs[2]]
    assert two.jobs == [jobs[1], jobs[3]]
    assert (queue.waiting, queue.unsettled) == (1, 5)


async def test_a_full_queue_refuses_and_says_that_nothing_was_begun() -> None:
    queue = await dispatcher(Runner())
    for _ in range(3):
        queue.submit(job([]))
    with pytest.raises(Problem) as caught:
        queue.submit(job([]))
    assert (caught.value.status, caught.value.safe) == (503, True)


async def test_the_bytes_that_wait_are_bounded_too() -> None:
    queue = await dispatcher(Runner(), limit=100)
    for _ in range(3):
        large = job([])
        large.inputs = (Tensor("x", "UINT8", (600,), bytes(600)),)
        queue.submit(large)
    with pytest.raises(Problem, match="wait already"):
        queue.submit(job([]))


async def test_deadlines_settle_jobs_wherever_they_are() -> None:
    runner = Runner()
    queue = await dispatcher(runner)
    outcomes: list[Any] = []
    lasting: list[Any] = []
    for seconds in (0.05, 0.02):
        queue.submit(job(outcomes, seconds))
    queue.submit(job(lasting))
    await asyncio.sleep(0.1)
    assert [outcome.status for outcome in outcomes] == [504, 504]
    assert (queue.waiting, queue.unsettled, lasting) == (1, 1, [])
    assert runner.abandoned == runner.calls
    # What the worker says later goes nowhere.
    queue.completed(runner.calls[0], Prediction((), 0.0))
    assert len(outcomes) == 2


async def test_a_cancelled_job_leaves_the_queue() -> None:
    queue = await dispatcher(Runner())
    queue.submit(job([]))
    waiting = job([])
    queue.submit(waiting)
    queue.cancel(waiting)
    assert (queue.waiting, queue.unsettled) == (0, 1)


async def test_untouched_jobs_of_a_lost_worker_come_first_and_in_order() -> None:
    lost, next_ = Runner(3), Runner(9)
    queue = await dispatcher(lost, limit=9)
    jobs = [job([]) for _ in range(5)]
    for item in jobs:
        queue.submit(item)
    queue.detach(lost, lost.calls[1:], [], Failure("WorkerCrashed", "gone"))
    queue.attach(next_)
    assert next_.jobs == jobs[1:]


async def test_refusing_what_waits_says_that_nothing_was_begun() -> None:
    queue = await dispatcher(Runner())
    outcomes: list[Any] = []
    queue.submit(job([]))
    queue.submit(job(outcomes))
    queue.refuse_waiting(Failure("WorkerCrashed", "gone"))
    assert (outcomes[0].status, outcomes[0].safe, outcomes[0].reason) == (503, True, "WorkerCrashed")


frames = st.lists(
    st.tuples(st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3), st.binary(max_size=99))
)


@given(frames, st.data())
def test_frames_survive_any_cutting(messages: list[tuple[dict[str, int], bytes]], data: Any) -> None:
    stream = b"".join(frame(header, (body,)) for header, body in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter = Splitter()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:end])
    assert [(dict(item.header), bytes(item.body)) for item in found] == messages


@given(st.binary(max_size=200))
@example(struct.pack("<II", 2, 0) + b"[]")
@example(struct.pack("<II", 0, 0))
def test_noise_on_a_workers_socket_is_named_or_waited_for(noise: bytes) -> None:
    with contextlib.suppress(NotAFrame):
        Splitter().feed(noise)


ENTRY = {"name": "x", "datatype": "FP64", "shape": [2], "offset": 0, "nbytes": 16}


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY | {"offset": -1},
        ENTRY | {"offset": 1},
        ENTRY | {"nbytes": 8},
        ENTRY | {"nbytes": -16},
        ENTRY | {"shape": [3]},
        ENTRY | {"shape": [-2]},
        ENTRY | {"shape": 2},
        ENTRY | {"datatype": "OBJECT"},
        ENTRY | {"datatype": "BYTES"},
        ENTRY | {"offset": "0"},
        {"name": "x"},
        5,
    ],
)
def test_tensors_that_a_worker_describes_wrongly_are_refused(entry: Any) -> None:
    with pytest.raises(NotAFrame):
        read_tensors([entry], bytes(16))


def test_tensors_are_read_where_they_were_put() -> None:
    blocks = [b"a" * 3, b"", b"b" * 70]
    places, end = placed([len(block) for block in blocks])
    assert (places, end) == ([0, 64, 64], 134)
    memory = b"".join(padded(places, blocks))
    entries = [
        {
            "name": str(i),
            "datatype": "UINT8",
            "shape": [len(block)],
            "offset": places[i],
            "nbytes": len(block),
        }
        for i, block in enumerate(blocks)
    ]
    assert needed(entries) == end
    assert [tensor.data for tensor in read_tensors(entries, memory)] == blocks


def test_shared_memory_grows_and_never_shrinks() -> None:
    region = Region("test")
    with region.reserve(10) as view:
        view[:] = b"0123456789"
    with region.reserve(100_000) as view:
        assert bytes(view[:10]) == b"0123456789"
    with pytest.raises(PermissionError):
        os.ftruncate(region.fd, 10)
    os.ftruncate(region.fd, 1 << 20)
    view = region.look(1 << 20)
    assert view is not None
    view.release()
    assert region.look((1 << 20) + 1) is None
    region.close()


def test_the_slot_used_last_is_used_next() -> None:
    slots = Slots()
    first, second = slots.take(), slots.take()
    slots.give(first)
    assert slots.take() == first
    assert second != first
    slots.close()


class Sink:
    """Takes no answers."""

    def send(self, exchange: Exchange, response: Response) -> None:
        raise AssertionError(exchange, response)


pieces = st.lists(
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n",
            b"POST /x HTTP/1.1\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"Upgrade: x\r\nConnection: upgrade\r\n",
            b"\r\n",
            b"abc",
            b"2\r\nab\r\n",
            b"0\r\n\r\n",
        ]
    )
    | st.binary(max_size=20),
    max_size=12,
)


@given(pieces, st.integers(1, 50))
def test_no_bytes_from_a_client_raise(parts: list[bytes], step: int) -> None:
    stream = b"".join(parts)
    reader = Reader(Sink(), max_body_bytes=10)
    for at in range(0, len(stream), step):
        if reader.feed(stream[at : at + step]) is not None:
            break
    assert all(len(exchange.body) <= 10 for exchange in reader.complete)


def test_histograms_count_cumulatively() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert list(histogram.lines("h", "")) == [
        'h_bucket{le="1.0"} 2',
        'h_bucket{le="2.0"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum{} 12.0",
        "h_count{} 4",
    ]


def test_label_values_are_escaped() -> None:
    metrics = Metrics({"model": 'a"b\\c\nd'})
    metrics.count("v2", 200)
    assert b'{model="a\\"b\\\\c\\nd",protocol="v2",code="200"} 1' in render(metrics.families({}, {}))


@pytest.mark.parametrize(
    ("status", "resident", "limit", "reason", "words"),
    [
        (-9, 95, 100, "OutOfMemory", "0 MiB of the 0 MiB"),
        (-9, 50, 100, "WorkerCrashed", "SIGKILL"),
        (-9, 50, 0, "WorkerCrashed", "SIGKILL"),
        (-11, 0, 0, "WorkerCrashed", "SIGSEGV (a fault in native code)"),
        (-40, 0, 0, "WorkerCrashed", "signal 40"),
        (3, 0, 0, "WorkerCrashed", "exited with code 3"),
    ],
)
def test_an_exit_is_explained(status: int, resident: int, limit: int, reason: str, words: str) -> None:
    failure = explain_exit(status, resident=resident, memory_bytes=limit, loading=False)
    assert failure.reason == reason
    assert words in failure.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"service": ""}, "service: expected text"),
        ({"listen": 5}, "listen: expected text, got 5"),
        ({"models": []}, "models: expected a list with at least one object"),
        ({"models": [{"service": 7}]}, "service: expected text, got 7"),
        ({"worker": []}, "worker: expected an object"),
        ({"limits": {"queue": -1}}, "limits.queue: expected a number of 0 or more"),
        (
            {"signature": {"inputs": [{"name": "a", "datatype": "X", "shape": []}]}},
            "signature.inputs[0].datatype",
        ),
    ],
)
def test_a_configuration_names_the_wrong_field(change: dict[str, Any], words: str) -> None:
    worker = {"interpreter": "python", "package": "p", "config": {}, "env": {}, "cwd": "/"}
    sound = {"service": "a", "listen": "unix:/s", "state_path": "/s.json", "worker": worker}
    assert [model.names for model in parse_config(sound).models] == [("a",)]
    with pytest.raises(ConfigInvalid, match=words.replace("[", r"\[").replace("]", r"\]")):
        parse_config(sound | change)


def test_the_workers_side_compiles_for_python_3_9() -> None:
    found = find_spec("modelyard_worker")
    assert found is not None
    package = Path(next(iter(found.submodule_search_locations or ())))
    # In a process of its own: the parser of Python 3.11 fails at times ("recursion depth mismatch") where
    # other things go on.
    code = "import ast, sys; [ast.parse(open(name).read(), feature_version=(3, 9)) for name in sys.argv[1:]]"
    names = [str(package / name) for name in ("channel.py", "serve.py", "aside.py", "steps.py")]
    subprocess.run([sys.executable, "-c", code, *names], check=True, timeout=60)


def test_the_front_imports_no_control_plane() -> None:
    code = "import json, sys, modelyard.serving.__main__; print(json.dumps(list(sys.modules)))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    modules = json.loads(listed)
    assert not [name for name in modules if name.partition(".")[0] in ("pydantic", "sqlalchemy", "fastapi")]
    assert {n.split(".")[1] for n in modules if n.startswith("modelyard.")} == {"oip", "serving"}
