"""Answers in parts: as they come, whole when asked for whole, and never longer than somebody waits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from modelyard.oip.tensor import to_array
from modelyard.serving.errors import Problem
from modelyard.serving.jobs import Prediction
from tests.serving.hosting import hosting, job, until

SYNC = """
import time
def predict(inputs):
    for n in range(int(inputs["input"].flat[0])):
        yield {"output": [[float(n)]]}
        time.sleep(0.05)
"""
ASYNC = """
import asyncio
class Model:
    async def preprocess(self, inputs):
        await asyncio.sleep(0.01)
        return inputs["input"]
    async def predict(self, table):
        for n in range(int(table.flat[0])):
            yield n
            await asyncio.sleep(0.05)
    def postprocess(self, n):
        return {"output": [[float(n)]]}
"""
ENDLESS = """
def predict(inputs):
    n = 0
    try:
        while True:
            yield {"output": [[float(n)]]}
            n += 1
    finally:
        open("closed", "w").close()
"""
COOPERATIVE = """
import time
from modelyard_worker import context
def predict(inputs):
    if inputs["input"].flat[0] == 0:
        return {"output": inputs["input"]}
    try:
        while True:
            time.sleep(0.01)
            context.check()
    except context.Cancelled:
        open("seen", "w").write(str(context.current().parameters))
        raise
"""
ASYNC_WAIT = """
import asyncio
async def predict(inputs):
    try:
        await asyncio.sleep(float(inputs["input"].flat[0]))
    except asyncio.CancelledError:
        open("seen", "w").close()
        raise
    return {"output": inputs["input"]}
"""


def numbers(predictions: list[Prediction]) -> list[float]:
    return [float(value) for each in predictions for value in to_array(each.outputs[0]).ravel()]


@pytest.mark.parametrize("code", [SYNC, ASYNC], ids=["sync", "async"])
async def test_what_is_yielded_comes_part_by_part(tmp_path: Path, code: str) -> None:
    async with hosting(tmp_path, code) as hosted:
        outcomes: list[Any] = []
        parts: list[tuple[float, Prediction]] = []
        asked = job([[5.0]], outcomes, on_part=lambda part: parts.append((monotonic(), part)))
        hosted.dispatcher.submit(asked)
        await until(lambda: bool(outcomes))
        assert numbers([part for _, part in parts]) == [0, 1, 2, 3, 4]
        assert parts[-1][0] - parts[0][0] > 0.15
        assert outcomes[0].outputs == ()
        if code is ASYNC:
            assert outcomes[0].preprocess_seconds > 0.009
        # Who asks for it whole gets the parts below one another.
        hosted.dispatcher.submit(job([[3.0]], outcomes))
        await until(lambda: len(outcomes) == 2)
        assert to_array(outcomes[1].outputs[0]).tolist() == [[0.0], [1.0], [2.0]]


async def test_a_model_that_answers_at_once_has_no_parts(tmp_path: Path) -> None:
    async with hosting(tmp_path, "def predict(inputs): return {'output': inputs['input']}") as hosted:
        outcomes: list[Any] = []
        parts: list[Prediction] = []
        hosted.dispatcher.submit(job([[1.0, 2.0]], outcomes, on_part=parts.append))
        await until(lambda: bool(outcomes))
        assert (parts, numbers(outcomes)) == ([], [1, 2])


async def test_an_error_in_the_middle_of_a_stream_ends_it(tmp_path: Path) -> None:
    code = "def predict(inputs):\n    yield inputs['input']\n    raise RuntimeError('no more')"
    async with hosting(tmp_path, code) as hosted:
        outcomes: list[Any] = []
        parts: list[Prediction] = []
        hosted.dispatcher.submit(job([[1.0]], outcomes, on_part=parts.append))
        await until(lambda: bool(outcomes))
        assert len(parts) == 1
        assert isinstance(outcomes[0], Problem)
        assert "no more" in outcomes[0].message


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_a_generator_is_closed_when_nobody_waits_for_it(tmp_path: Path, how: str) -> None:
    async with hosting(tmp_path, ENDLESS) as hosted:
        outcomes: list[Any] = []
        parts: list[Prediction] = []
        seconds = 0.5 if how == "expired" else 20.0
        asked = job([[1.0]], outcomes, on_part=parts.append, seconds=seconds)
        hosted.dispatcher.submit(asked)
        await until(lambda: len(parts) > 3)
        if how == "cancelled":
            hosted.dispatcher.cancel(asked)
        await until((tmp_path / "closed").exists)
        if how == "expired":
            await until(lambda: bool(outcomes))  # the worker is told at the same time
        assert [outcome.status for outcome in outcomes] == ([504] if how == "expired" else [])
        # The same process answers on.
        again: list[Prediction] = []
        hosted.dispatcher.submit(job([[1.0]], [], on_part=again.append, seconds=0.5))
        await until(lambda: bool(again))
        assert hosted.restarts == 0


@pytest.mark.parametrize("code", [COOPERATIVE, ASYNC_WAIT], ids=["sync", "async"])
async def test_code_sees_that_its_request_is_cancelled_and_what_waited_behind_it_goes_on(
    tmp_path: Path, code: str
) -> None:
    async with hosting(tmp_path, code, worker={"warmup": "none"}) as hosted:
        outcomes: list[Any] = []
        asked = job([[30.0]], [], parameters={"user": "me"})
        hosted.dispatcher.submit(asked)
        await until(lambda: asked.begun_at > 0)
        hosted.dispatcher.submit(job([[0.0]], outcomes))
        await asyncio.sleep(0.1)
        hosted.dispatcher.cancel(asked)
        begun = monotonic()
        await until(lambda: bool(outcomes))
        assert monotonic() - begun < 2
        assert isinstance(outcomes[0], Prediction)
        # Async code has answered the second beside the first, and may hear of the end a little later.
        await until((tmp_path / "seen").exists)
        if code is COOPERATIVE:
            assert "'user': 'me'" in (tmp_path / "seen").read_text()


async def test_a_cancelled_call_that_the_worker_has_not_begun_is_skipped(tmp_path: Path) -> None:
    code = (
        "import time\ndef predict(inputs):\n"
        "    open('log', 'a').write(f\"{inputs['input'].flat[0]} \")\n"
        "    time.sleep(0.3 if inputs['input'].flat[0] == 1 else 0)\n    return inputs['input']"
    )
    async with hosting(tmp_path, code, limits={"batch": {"mode": "off"}}) as hosted:
        outcomes: list[Any] = []
        for count in range(60):  # it is quick, so that several calls go to the worker at once
            hosted.dispatcher.submit(job([[0.0]], outcomes))
            await until(lambda count=count: len(outcomes) > count)  # type: ignore[misc]
        jobs = [job([[float(n)]], outcomes) for n in (1, 2, 3)]
        for each in jobs:
            hosted.dispatcher.submit(each)
        assert all(each.begun_at for each in jobs)
        hosted.dispatcher.cancel(jobs[1])
        await until(lambda: len(outcomes) == 62)
        assert (tmp_path / "log").read_text().split()[-2:] == ["1.0", "3.0"]


@pytest.mark.parametrize("kind", ["zero", "random", "sample", "none"])
async def test_a_model_is_warm_before_it_is_ready(tmp_path: Path, kind: str) -> None:
    code = (
        "def predict(inputs):\n    open('log', 'a').write(f\"{inputs['input'].tolist()}\\n\")\n"
        "    return {'output': inputs['input']}"
    )
    guest = {"warmup": kind, "sample": {"input": [[1.5, 2.5]]}}
    async with hosting(tmp_path, code, worker=guest) as hosted:
        log = tmp_path / "log"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        assert hosted.is_ready
        assert bool(calls) == (kind != "none")
        known = hosted.dispatcher.policy.as_json()["milliseconds"]
        assert set(known) == (set() if kind == "none" else {"1", "8", "32"})
        if kind in ("zero", "sample"):
            assert calls[0] == ([[1.5, 2.5]] if kind == "sample" else [[0.0]])
        if kind == "random":
            assert calls[0] != [[0.0]]


async def test_a_failed_warm_up_is_named_and_fatal_only_where_it_must_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "def predict(inputs): raise ValueError('not today')"
    async with hosting(tmp_path, code, worker={"warmup": "zero"}) as hosted:
        assert hosted.is_ready
        assert "the warm-up request (zero) failed: model.py line 1 in predict" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="not today"):
        async with hosting(tmp_path, code, worker={"warmup": "zero", "warmup_required": True}):
            pass


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("batchable = False\ndef predict(inputs): return {'output': inputs['input']}", "batchable = False"),
        ("def predict(inputs): return {'output': inputs['input'][:1]}", "8 rows were answered with"),
        (
            "def predict(inputs): return {'output': inputs['input'] / inputs['input'].sum()}",
            "is another when 8 rows are predicted together",
        ),
        (
            "def predict(inputs):\n    assert len(inputs['input']) == 1\n    return inputs['input']",
            "8 rows at once failed",
        ),
    ],
)
async def test_models_whose_rows_are_not_for_themselves_are_found_out(
    tmp_path: Path, code: str, words: str
) -> None:
    async with hosting(tmp_path, code, worker={"sample": [[1.0, 2.0]]}) as hosted:
        assert not hosted.dispatcher.policy.merges
        assert words in hosted.dispatcher.policy.reason


async def test_requests_that_wait_share_calls_when_that_pays(tmp_path: Path) -> None:
    code = (
        "import time\ndef predict(inputs):\n    open('log', 'a').write('.')\n    time.sleep(0.02)\n"
        "    return {'output': inputs['input'] * 2}"
    )
    async with hosting(tmp_path, code, worker={"warmup": "zero"}) as hosted:
        outcomes: list[Any] = []
        log = next(tmp_path.rglob("log"))
        before = len(log.read_text())
        for n in range(60):
            hosted.dispatcher.submit(job([[float(n)]], outcomes))
        await until(lambda: len(outcomes) == 60)
        assert len(log.read_text()) - before < 60 / 3
        assert sorted(numbers(outcomes)) == [2.0 * n for n in range(60)]
        assert "rows go together" in hosted.dispatcher.policy.reason


SIDE_BY_SIDE = """
import asyncio
from modelyard_worker import context
inside, most = 0, 0
async def predict(inputs):
    global inside, most
    inside += 1
    most = max(most, inside)
    open('log', 'a').write(f"{inputs['input'].flat[0]:g} ")
    try:
        await asyncio.sleep(float(inputs['input'].flat[1]))
        context.check()
        if inputs['input'].flat[1] == 0.25:
            raise ValueError('this value will not do')
        return {'output': inputs['input'], 'most': [float(most)], 'mine': [len(context.current().parameters)]}
    finally:
        inside -= 1
"""


async def test_async_code_answers_several_requests_side_by_side_and_each_for_itself(tmp_path: Path) -> None:
    quiet = {"warmup": "none"}
    async with hosting(tmp_path, SIDE_BY_SIDE + "concurrency = 4\n", worker=quiet) as hosted:
        assert "async: its requests are answered side by side" in hosted.dispatcher.policy.reason
        outcomes: list[list[Any]] = [[] for _ in range(6)]
        waits = (0.4, 30.0, 0.25, 0.3, 0.0, 0.0)
        jobs = [
            job([[float(n), wait]], outcomes[n], parameters={str(p): 1 for p in range(n)})
            for n, wait in enumerate(waits)
        ]
        for each in jobs:
            hosted.dispatcher.submit(each)
        # Four are with the worker, in the order in which they came; the others wait their turn.
        assert [bool(each.begun_at) for each in jobs] == [True] * 4 + [False] * 2
        await until(
            lambda: len((tmp_path / "log").read_text().split()) >= 4 if (tmp_path / "log").exists() else False
        )
        hosted.dispatcher.cancel(jobs[1])  # its task is cancelled, no other
        await until(lambda: all(outcomes[n] for n in (0, 2, 3, 4, 5)))
        assert (tmp_path / "log").read_text().split() == ["0", "1", "2", "3", "4", "5"]
        assert isinstance(outcomes[2][0], Problem)
        assert "this value will not do" in outcomes[2][0].message
        for n in (0, 3, 4, 5):
            assert isinstance(outcomes[n][0], Prediction), outcomes[n]
            values = {each.name: to_array(each).ravel().tolist() for each in outcomes[n][0].outputs}
            assert values["output"] == [float(n), waits[n]]
            assert values["mine"] == [n]
            assert values["most"] == [4.0]
        assert outcomes[1] == []


async def test_a_deadline_ends_one_of_the_requests_that_run_side_by_side(tmp_path: Path) -> None:
    async with hosting(tmp_path, SIDE_BY_SIDE, worker={"warmup": "none"}) as hosted:
        late: list[Any] = []
        good: list[Any] = []
        hosted.dispatcher.submit(job([[0.0, 30.0]], late, seconds=0.3))
        hosted.dispatcher.submit(job([[1.0, 0.6]], good))
        await until(lambda: bool(late and good))
        assert late[0].status == 504
        assert isinstance(good[0], Prediction)
        first = hosted.supervisors[0].pid
        again: list[Any] = []
        hosted.dispatcher.submit(job([[2.0, 0.0]], again))
        await until(lambda: bool(again))
        assert isinstance(again[0], Prediction)
        assert hosted.supervisors[0].pid == first


async def test_what_kills_a_worker_is_found_among_those_that_ran_side_by_side(tmp_path: Path) -> None:
    code = SIDE_BY_SIDE.replace(
        "context.check()", "__import__('os')._exit(4) if inputs['input'].flat[0] == 2 else 0"
    )
    async with hosting(tmp_path, code, worker={"warmup": "none"}) as hosted:
        outcomes: list[list[Any]] = [[] for _ in range(4)]
        for n in range(4):
            hosted.dispatcher.submit(job([[float(n), 0.3]], outcomes[n]))
        await until(lambda: all(outcomes), seconds=20)
        for n in (0, 1, 3):
            assert isinstance(outcomes[n][0], Prediction), outcomes[n]
        assert isinstance(outcomes[2][0], Problem)
        assert "poison" in outcomes[2][0].message


@pytest.mark.parametrize(
    ("more", "merges"), [("", False), ("batchable = True\n", True), ("concurrency = 1\n", True)]
)
async def test_async_code_shares_calls_only_when_it_is_asked_to(
    tmp_path: Path, more: str, merges: bool
) -> None:
    code = "async def predict(inputs):\n    return {'output': inputs['input']}\n" + more
    async with hosting(tmp_path, code, worker={"warmup": "zero"}) as hosted:
        assert hosted.dispatcher.policy.merges is merges


async def test_a_wrong_depth_is_refused_when_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="expected a whole number from 1 to 16"):
        async with hosting(tmp_path, "concurrency = 0\nasync def predict(inputs): return inputs"):
            pass
