"""Requests that share a call: when it pays, what it costs, and that nobody can tell the difference."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.oip.errors import Rejected
from modelyard.oip.signature import compile_signature
from modelyard.oip.tensor import Tensor, from_array, to_array
from modelyard.serving.batching.merging import check_pad, kind_of, merge, obstacle_in, rows_of, split
from modelyard.serving.batching.pace import HEAVIEST, HEAVY, Spent, seconds_of, weight_of
from modelyard.serving.batching.policy import AUTO, ON, Policy
from modelyard.serving.dispatcher import Dispatcher, Rules
from modelyard.serving.errors import Problem
from modelyard.serving.jobs import Job, Prediction, Work
from tests.serving.simulation import Cost, Service, World

SLO = 0.1
GRID = (1, 2, 4, 8, 16, 32, 64)


def linear(per_row: float, per_call: float) -> Cost:
    return lambda rows: per_row * rows + per_call


def noisy(per_row: float, per_call: float) -> Cost:
    chance = random.Random(3)
    return lambda rows: (per_row * rows + per_call) * chance.lognormvariate(0, 0.2)


def bimodal(per_row: float, per_call: float) -> Cost:
    """One call in twenty takes three times as long."""
    chance = random.Random(4)
    return lambda rows: (per_row * rows + per_call) * (3 if chance.random() < 0.05 else 1)


class Static(Policy):
    """What others ship: a fixed most."""

    def __init__(self, most: int) -> None:
        super().__init__(mode=ON, max_rows=most)


def p99(cost: Cost, policy: Policy, rate: float) -> tuple[float, int]:
    """The 99th percentile once it has settled, and how many requests got no answer."""
    service = Service(cost, policy=policy)
    # A fixed size has nothing to learn.
    learning = service.come(rate, 0.5 if isinstance(policy, Static) else max(4.0, 3000 / rate))
    outcome = service.come(rate, 4000 / rate)
    return outcome.quantile(0.99), len(learning.problems) + len(outcome.problems)


def best_static_rate(make: Any, arguments: tuple[float, float]) -> float:
    """The highest rate, on a fine grid, that any fixed size keeps to the time allowed at."""
    best = 0.0
    for most in GRID:
        capacity = most / (arguments[0] * most + arguments[1])
        for share in (0.95, 0.8, 0.6):
            if share * capacity <= best:
                break
            if p99(make(*arguments), Static(most), share * capacity)[0] <= SLO:
                best = share * capacity
                break
    return best


@pytest.mark.parametrize("make", [linear, noisy, bimodal])
@pytest.mark.parametrize("arguments", [(0.0005, 0.005), (0.0001, 0.01), (0.002, 0.002), (0.003, 0.0)])
def test_it_carries_nine_tenths_of_what_the_best_fixed_size_does_and_keeps_to_the_time_allowed(
    make: Any, arguments: tuple[float, float]
) -> None:
    rate = 0.9 * best_static_rate(make, arguments)
    found, dropped = p99(make(*arguments), Policy(mode=AUTO, slo_seconds=SLO), rate)
    assert found <= SLO
    assert dropped == 0


@pytest.mark.parametrize("cost", [linear(0.0005, 0.005), linear(0.003, 0.0)])
def test_at_one_request_a_second_nothing_is_added(cost: Cost) -> None:
    service = Service(cost, policy=Policy(mode=AUTO))
    service.come(1.0, 20.0)
    outcome = service.come(1.0, 200.0)
    waited = sorted(outcome.waits)
    # But for a request that by chance comes while another one runs.
    assert waited[int(0.97 * len(waited))] < 0.0002


@pytest.mark.parametrize("row_bytes", [8, 602_112], ids=["light", "heavy"])
def test_a_model_that_is_slower_in_company_is_left_alone_after_a_few_tries(row_bytes: int) -> None:
    def convolution(rows: int) -> float:
        return 0.01 * rows * (1.25 if rows > 1 else 1.0)

    policy = Policy(mode=AUTO)
    row = Tensor("x", "UINT8", (1, row_bytes), bytes(row_bytes))
    service = Service(convolution, policy=policy, row=row, limit_bytes=1 << 40)
    for _ in range(8000):
        service.ask(timeout=1e6)
    service.world.run(60.0)
    calls = service.workers[0].calls
    assert calls.count(1) > 0.9 * len(calls)
    assert len(service.outcome.latencies) >= 0.95 * 60.0 / 0.01
    assert policy.reason.startswith("each request is a call of its own: a row costs 12.")


@settings(max_examples=15, deadline=None)
@given(
    per_row=st.sampled_from([0.0, 0.0001, 0.001]),
    per_call=st.sampled_from([0.0001, 0.0005, 0.005]),
    joining=st.sampled_from([0.0, 1e-10, 1e-9, 5e-9]),
    row_bytes=st.sampled_from([8, 65_536, 262_144]),
)
def test_joining_never_costs_more_than_it_saves(
    per_row: float, per_call: float, joining: float, row_bytes: int
) -> None:
    row = Tensor("x", "UINT8", (1, row_bytes), bytes(row_bytes))
    cost = linear(per_row, per_call)
    policy = Policy(mode=AUTO, max_rows=16)
    service = Service(cost, policy=policy, joining=joining, row=row)
    calls = service.workers[0].calls

    def run_until(count: int) -> None:
        while len(calls) < count:
            for _ in range(32 - service.dispatcher.unsettled):
                service.ask(timeout=1e6)
            service.world.run(service.world.now + per_row + per_call)

    run_until(250)
    learned, since = len(service.outcome.latencies), service.world.now
    run_until(400)
    rate = (len(service.outcome.latencies) - learned) / (service.world.now - since)
    best = max(
        size / (cost(size) + (joining * row_bytes * size if size > 1 else 0.0)) for size in (1, 2, 4, 8, 16)
    )
    # A message costs something too, which this worker does not have: it may tip what is nearly equal.
    assert rate >= 0.75 * best


def test_heavy_rows_that_are_merely_copied_go_alone_and_light_ones_of_the_same_model_together() -> None:
    policy = Policy(mode=AUTO)
    heavy = Spent(inside=0.00001, worker=0.00006, front=0.00004)
    for rows in (1, 8, 16) * 4:
        spent = Spent(heavy.inside, heavy.worker * rows, heavy.front * rows)
        policy.observe(rows, seconds_of(spent, shared=rows > 1), 602_112)
        policy.observe(rows, 0.00002, 32)
    assert policy.rows_for(1, 16, 602_112) == 1
    assert policy.rows_for(1, 16, 32) == 16


def test_a_convolution_that_gains_in_company_shares_its_calls_although_its_rows_are_heavy() -> None:
    policy = Policy(mode=AUTO)
    for rows in (1, 8, 16) * 4:
        spent = Spent(0.004 + 0.0002 * rows, 0.00006 * rows, 0.00004 * rows)
        policy.observe(rows, seconds_of(spent, shared=rows > 1), 602_112)
    assert policy.rows_for(1, 16, 602_112) == 16


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_weights_grow_with_the_bytes_of_a_row_and_are_few(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 0 <= weight_of(low) <= weight_of(high) <= HEAVIEST
    assert weight_of(4096) == 0
    assert weight_of(65_536) < HEAVY <= weight_of(65_537)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_shared_call_never_counts_less_than_one_request_with_the_same_seconds(
    inside: float, worker: float, front: float
) -> None:
    spent = Spent(inside, worker, front)
    assert seconds_of(spent, shared=True) >= seconds_of(spent, shared=False) >= inside


def test_a_model_that_changes_is_learned_anew() -> None:
    state = {"pays": False}

    def cost(rows: int) -> float:
        return 0.01 if state["pays"] else 0.01 * rows * (1.25 if rows > 1 else 1.0)

    service = Service(cost, policy=Policy(mode=AUTO))
    for _ in range(20_000):
        service.ask(timeout=1e6)
    service.world.run(20.0)
    state["pays"] = True
    service.world.run(200.0)
    assert np.mean(service.workers[0].calls[-50:-10]) > 8


def test_rows_are_counted_and_not_requests() -> None:
    policy = Policy(mode=ON, max_rows=10)
    world = World()
    begun: list[Work] = []
    dispatcher = _dispatcher(world, policy, begun)
    for rows in (1, 4, 4, 4, 20, 1):
        dispatcher.submit(_job(_table(rows)))
    world.run(1.0)
    assert [work.rows for work in begun] == [(1, 4, 4)]
    _answer_all(dispatcher, begun, world)
    # What is larger than a call may be goes alone, and keeps its place.
    assert [work.rows for work in begun] == [(1, 4, 4), (4,), (20,), (1,)]


def test_a_delay_holds_nothing_back_while_a_worker_is_idle() -> None:
    world = World()
    rules = Rules(limit=99, limit_bytes=1 << 20, max_delay=0.05)
    begun: list[Work] = []
    dispatcher = Dispatcher(world, rules, Policy(mode=ON), clock=world.clock)
    dispatcher.obstacle = None
    dispatcher.attach(_Deep(begun))
    dispatcher.submit(_job(_table(1), world.now))
    world.run(0.001)
    assert len(begun) == 1
    # Now it is busy, so the next ones may wait for each other, but not for long.
    for at in (0.01, 0.02):
        world.run(at)
        dispatcher.submit(_job(_table(1), world.now))
    world.run(0.055)
    assert len(begun) == 1
    world.run(0.065)
    assert [len(work.jobs) for work in begun] == [1, 2]


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ([-1, 4], [-1], ""),
        ([4], [-1], 'the first dimension of "x" is not variable'),
        ([-1], [], 'the first dimension of "y" is not variable'),
        ([-1], None, "names no outputs"),
    ],
)
def test_only_rows_can_share_a_call(inputs: list[int], outputs: list[int] | None, words: str) -> None:
    document: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": inputs}]}
    if outputs is not None:
        document["outputs"] = [{"name": "y", "datatype": "FP32", "shape": outputs}]
    assert words in obstacle_in(compile_signature(document))


# Nobody can tell: the same answers, whoever was in the same call.

texts = st.lists(st.binary(max_size=5), min_size=1, max_size=4)
requests = st.lists(
    st.tuples(
        st.lists(st.floats(allow_nan=False), min_size=1, max_size=4),
        st.integers(1, 2),
        st.sampled_from([{}, {"temperature": 1}, {"temperature": 2}, {"timeout": 5}]),
        st.sampled_from([None, ("number",), ("text",)]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200)
@given(requests, st.integers(1, 20), st.sets(st.floats(allow_nan=False), max_size=2))
def test_whoever_is_in_the_same_call_the_answer_is_the_same(
    asked: list[Any], most: int, poison: set[float]
) -> None:
    jobs, answers = [], []
    for values, width, parameters, outputs in asked:
        sent = {**parameters, "requested_outputs": outputs} if outputs else parameters
        inputs = (
            from_array("number", np.repeat(np.array(values)[:, None], width, axis=1)),
            from_array("text", np.array([str(value).encode() for value in values], object)),
        )
        outcome: list[Any] = []
        jobs.append(Job(inputs, sent, 60.0, 60.0, 0.0, outcome.append))
        answers.append(outcome)
    world = World()
    begun: list[Work] = []
    dispatcher = _dispatcher(world, Policy(mode=ON, max_rows=most), begun)
    for job in jobs:
        dispatcher.submit(job)
    world.run(1.0)
    at = 0
    while at < len(begun):
        work = begun[at]
        at += 1
        dispatcher.runner.load = 0
        dispatcher.completed(work, _model(work.inputs, work.parameters, poison))
        dispatcher.feed()
        world.run(world.now)
    for job, outcome in zip(jobs, answers, strict=True):
        alone = _model(job.inputs, job.parameters, poison)
        assert len(outcome) == 1
        if isinstance(alone, Problem):
            assert isinstance(outcome[0], Problem)
        else:
            assert outcome[0].outputs == alone.outputs
    if not poison:
        # None is called twice, and none is left out.
        assert sum(len(work.jobs) for work in begun) == len(jobs)


def _model(inputs: Any, parameters: Any, poison: set[float]) -> Prediction | Problem:
    arrays = {tensor.name: to_array(tensor) for tensor in inputs}
    if any(value in poison for value in arrays["number"].ravel().tolist()):
        return Problem(500, "prediction_failed", "poison")
    temperature = parameters.get("temperature", 0)
    with np.errstate(all="ignore"):
        found = {
            "number": arrays["number"] + temperature,
            "text": np.array([b"<" + text + b">" for text in arrays["text"]], object),
        }
    wanted = parameters.get("requested_outputs") or tuple(found)
    return Prediction(tuple(from_array(name, found[name]) for name in wanted), 0.001)


def test_one_poisonous_request_is_found_and_its_mates_are_answered() -> None:
    world = World()
    begun: list[Work] = []
    dispatcher = _dispatcher(world, Policy(mode=ON, max_rows=64), begun)
    answers: list[Any] = []
    for value in range(16):
        tensor = from_array("x", np.array([[float(value)]]))
        dispatcher.submit(Job((tensor,), {}, 60.0, 60.0, 0.0, answers.append))
    world.run(1.0)
    at = 0
    while at < len(begun):
        work = begun[at]
        at += 1
        dispatcher.runner.load = 0
        bad = 11.0 in to_array(work.inputs[0])
        dispatcher.completed(work, Problem(400, "invalid", "11") if bad else Prediction(work.inputs, 0.0))
        dispatcher.feed()
    assert len(answers) == 16
    assert sum(isinstance(answer, Problem) for answer in answers) == 1
    assert len(begun) <= 1 + 2 * 4


def test_answers_without_a_row_for_each_row_end_the_sharing_and_cost_nobody_the_answer() -> None:
    world = World()
    begun: list[Work] = []
    policy = Policy(mode=ON)
    dispatcher = _dispatcher(world, policy, begun)
    told: list[str] = []
    dispatcher.on_mismatch = told.append
    answers: list[Any] = []
    for _ in range(3):
        dispatcher.submit(Job((_table(2),), {}, 60.0, 60.0, 0.0, answers.append))
    world.run(1.0)
    one = Tensor("mean", "FP64", (1,), bytes(8))
    at = 0
    while at < len(begun):
        dispatcher.runner.load = 0
        dispatcher.completed(begun[at], Prediction((one,), 0.0))
        at += 1
        dispatcher.feed()
    assert [len(work.jobs) for work in begun] == [3, 1, 1, 1]
    assert [answer.outputs for answer in answers] == [(one,)] * 3
    assert told == ['a call with 6 rows was answered with "mean" [1]']
    assert policy.reason == f"each request is a call of its own: {told[0]}"
    assert not policy.merges


def test_shorter_rows_are_filled_up_when_the_request_says_with_what() -> None:
    short = (from_array("x", np.array([[1, 2]], np.int64)),)
    long = (from_array("x", np.array([[3, 4, 5], [6, 7, 8]], np.int64)),)
    assert kind_of(short, {}) != kind_of(long, {})
    assert kind_of(short, {"pad": 0}) == kind_of(long, {"pad": 0})
    assert kind_of(short, {"pad": 0}) != kind_of(short, {"pad": 1})
    (merged,) = merge([short, long], pad=-1)
    assert to_array(merged).tolist() == [[1, 2, -1], [3, 4, 5], [6, 7, 8]]
    shares = split([merged], [1, 2])
    assert shares is not None
    assert [to_array(outputs[0]).tolist() for outputs in shares] == [[[1, 2, -1]], [[3, 4, 5], [6, 7, 8]]]
    with pytest.raises(Rejected, match=r"parameters\.pad"):
        check_pad({"pad": "0"})


def test_rows_are_those_that_all_inputs_have() -> None:
    assert rows_of((_table(3), _table(3))) == 3
    assert rows_of((_table(3), _table(2))) == 0
    assert rows_of((Tensor("x", "FP64", (), bytes(8)),)) == 0


class _Deep:
    """A worker that takes two calls and answers none."""

    def __init__(self, begun: list[Work], depth: int = 2) -> None:
        self._begun = begun
        self._depth = depth
        self.load = 0

    parallel = 1

    @property
    def has_room(self) -> bool:
        return self.load < self._depth

    def begin(self, work: Work) -> None:
        self.load += 1
        self._begun.append(work)

    def abandon(self, work: Work) -> None:
        del work


class _OneWorker(Dispatcher):
    """A dispatcher with one worker that takes one call at a time."""

    runner: _Deep


def _dispatcher(world: World, policy: Policy, begun: list[Work]) -> _OneWorker:
    made = _OneWorker(world, Rules(limit=999, limit_bytes=1 << 20), policy, world.clock)
    made.obstacle = None
    made.runner = _Deep(begun, depth=1)
    made.attach(made.runner)
    return made


def _answer_all(dispatcher: _OneWorker, begun: list[Work], world: World) -> None:
    at = 0
    while at < len(begun):
        dispatcher.runner.load = 0
        dispatcher.completed(begun[at], Prediction(begun[at].inputs, 0.001))
        at += 1
        dispatcher.feed()
        world.run(world.now)


def _table(rows: int) -> Tensor:
    return Tensor("x", "FP64", (rows, 1), bytes(8 * rows))


def _job(tensor: Tensor, now: float = 0.0) -> Job:
    return Job((tensor,), {}, now + 60.0, 60.0, now, lambda _: None)
