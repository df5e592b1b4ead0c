"""The response cache: equal requests cost one call, whatever they look like, and others never share."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelyard.oip.tensor import Tensor
from modelyard.serving.batching.policy import Policy
from modelyard.serving.caching import ENTRY_BYTES, ResponseCache
from modelyard.serving.errors import Problem
from modelyard.serving.jobs import Job, Prediction
from tests.serving.replicas import Answer, Replica, infer_body, replica
from tests.serving.simulation import Service

COUNTING = """
import os, time
def predict(inputs):
    with open("calls", "a") as file:
        file.write(".")
    time.sleep(0.2)
    return {"output": inputs["input"] + os.path.getsize("calls")}
"""
CACHED: dict[str, Any] = {"limits": {"cache_bytes": 1 << 20}, "code": COUNTING}


def calls(running: Replica) -> int:
    path = running.directory / "calls"
    return len(path.read_text()) if path.exists() else 0


def ask(running: Replica, body: bytes, **headers: str) -> Answer:
    return running.call("POST", "/v2/models/echo/infer", body, headers)


def metric(running: Replica, name: str) -> float:
    text = running.call("GET", "/metrics").body.decode()
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name}{{"))
    return float(line.split()[-1])


def test_a_hundred_equal_requests_at_once_are_one_call() -> None:
    with replica(**CACHED) as running, ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: running.infer(1, 2), range(100)))
        assert calls(running) == 1
        assert {answer.status for answer in answers} == {200}
        assert {answer.json["outputs"][0]["data"][1] for answer in answers} == {3}
        said = {answer.headers["cache-status"] for answer in answers}
        assert "modelyard; fwd=miss; stored" in said
        assert said <= {
            "modelyard; hit",
            "modelyard; fwd=miss; stored",
            "modelyard; fwd=miss; collapsed",
        }
        assert metric(running, "modelyard_cache_misses_total") == 1
        assert metric(running, "modelyard_cache_hits_total") == sum(
            answer.headers["cache-status"] == "modelyard; hit" for answer in answers
        )
        (counted,) = running.call("GET", "/v2/models/echo/stats").json["model_stats"]
        stats = counted["inference_stats"]
        assert (counted["execution_count"], counted["inference_count"]) == (1, 100)
        assert (stats["cache_hit"]["count"], stats["cache_miss"]["count"]) == (99, 1)
        assert stats["compute_infer"]["ns"] < 2 * counted["batch_stats"][0]["compute_infer"]["ns"]


def test_what_is_asked_counts_and_not_how_it_is_written() -> None:
    tensor: dict[str, Any] = {"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1, 2.0]}
    with replica(**CACHED) as running:
        first = ask(running, json.dumps({"inputs": [tensor]}).encode())
        spaced = json.dumps({"id": "other", "inputs": [tensor]}, indent=4).encode()
        nested = json.dumps({"inputs": [tensor | {"data": [[1.0, 2]]}]}).encode()
        for body in (spaced, nested):
            answer = ask(running, body)
            assert answer.headers["cache-status"] == "modelyard; hit"
            assert answer.json["outputs"] == first.json["outputs"]
        assert ask(running, spaced).json["id"] == "other"
        before = calls(running)
        others = (
            {"inputs": [tensor | {"data": [1, 3]}]},
            {"inputs": [tensor | {"shape": [2, 1]}]},
            {"inputs": [tensor], "parameters": {"temperature": 1}},
            {"inputs": [tensor], "outputs": [{"name": "output"}]},
            {"inputs": [tensor], "parameters": {"cache": False}},
        )
        for count, document in enumerate(others, 1):
            assert ask(running, json.dumps(document).encode()).status == 200
            assert calls(running) == before + count
        fresh = ask(running, infer_body(1, 2), **{"Cache-Control": "no-cache"})
        assert "cache-status" not in fresh.headers
        assert calls(running) == before + len(others) + 1
        wrong = ask(running, json.dumps({"inputs": [tensor], "parameters": {"cache": 1}}).encode())
        assert (wrong.status, wrong.json["path"]) == (400, "parameters.cache")


def test_without_a_budget_nothing_is_kept() -> None:
    with replica(code=COUNTING) as running:
        for count in (1, 2):
            assert "cache-status" not in running.infer(1, 2).headers
            assert calls(running) == count


def test_what_was_used_longest_ago_makes_room() -> None:
    cache = ResponseCache(3 * (ENTRY_BYTES + 80))
    for n in range(3):
        cache.keep(bytes([n]), (Tensor("y", "UINT8", (80,), bytes(80)),))
    assert cache.find(b"\0") is not None
    cache.keep(b"\3", (Tensor("y", "UINT8", (80,), bytes(80)),))
    assert [cache.find(bytes([n])) is not None for n in range(4)] == [True, False, True, True]
    cache.keep(b"\4", (Tensor("y", "UINT8", (9000,), bytes(9000)),))
    assert (len(cache), cache.bytes) == (3, 3 * (ENTRY_BYTES + 80))
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


def _cached() -> tuple[Service, list[Any], Any]:
    service = Service(lambda _: 1.0, policy=Policy())
    service.dispatcher.cache = ResponseCache(1 << 20)
    outcomes: list[Any] = []

    def ask(seconds: float = 60.0) -> Job:
        now = service.world.now
        job = Job((Tensor("x", "UINT8", (1,), b"1"),), {}, now + seconds, seconds, now, outcomes.append)
        service.dispatcher.submit(job)
        return job

    return service, outcomes, ask


def test_the_first_of_equal_requests_may_leave_and_the_others_are_answered() -> None:
    service, outcomes, ask = _cached()
    first, second = ask(), ask()
    service.dispatcher.cancel(first)
    service.world.run(2.0)
    assert [type(outcome) for outcome in outcomes] == [Prediction]
    assert second.settled
    assert service.workers[0].calls == [1]


def test_a_call_that_all_have_left_is_abandoned() -> None:
    service, outcomes, ask = _cached()
    jobs = [ask(), ask()]
    for job in jobs:
        service.dispatcher.cancel(job)
    assert len(service.workers[0].abandoned) == 1
    assert service.dispatcher.unsettled == 0
    service.world.run(2.0)
    assert outcomes == []


def test_each_keeps_its_own_deadline() -> None:
    service, outcomes, ask = _cached()
    ask(0.5)
    ask(60.0)
    service.world.run(0.6)
    assert [outcome.status for outcome in outcomes] == [504]
    service.world.run(2.0)
    assert isinstance(outcomes[1], Prediction)


def test_failures_are_not_kept() -> None:
    service, outcomes, ask = _cached()
    begin = service.workers[0].begin

    def failing(work: Any) -> None:
        service.dispatcher.completed(work, Problem(500, "prediction_failed", "no"))

    service.workers[0].begin = failing  # type: ignore[method-assign]
    ask()
    service.workers[0].begin = begin  # type: ignore[method-assign]
    ask()
    service.world.run(2.0)
    assert isinstance(outcomes[0], Problem)
    assert isinstance(outcomes[1], Prediction)
