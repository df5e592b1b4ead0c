"""Marked answers are remembered for the platform, and for nobody else."""

from __future__ import annotations

import json

import numpy as np

from modelyard.oip.tensor import Tensor, from_array
from modelyard.serving.comparing import MOST, REMEMBERED_SECONDS, Comparisons
from modelyard.serving.errors import Problem
from modelyard.serving.jobs import Prediction
from tests.serving.replicas import infer_body, replica

PATH = "/modelyard/comparisons"
X = from_array("input", np.array([[1.0, 2.0]]))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def answer(kept: Comparisons, mark: str, *outputs: Tensor) -> None:
    kept.watching(mark.encode(), (X,), 0.0, lambda outcome: None)(Prediction(outputs or (X,), 0.0))


def test_a_front_remembers_what_the_gateway_marks() -> None:
    with replica(comparisons=True) as running:
        running.call("POST", "/v2/models/echo/infer", infer_body(1, 2), {"x-modelyard-compare": "abc"})
        running.call("POST", "/v2/models/echo/infer", infer_body(3, 4), {"x-modelyard-compare": "+def"})
        running.call("POST", "/v2/models/echo/infer", infer_body(5, 6))
        first, second = running.call("GET", PATH).json["samples"]
        assert running.call("GET", PATH, b"", {"x-forwarded-for": "10.0.0.1"}).status == 404
        assert running.call("GET", PATH, b"", {"x-forwarded-proto": "http"}).status == 404
    assert (first["id"], first["inputs"], first["rows"]) == ("abc", [], 1)
    assert (second["id"], second["inputs"][0]["data"]) == ("def", [3, 4])
    assert first["outputs"][0]["data"] == [1, 2]


def test_a_front_of_its_own_has_no_such_path() -> None:
    with replica() as running:
        running.call("POST", "/v2/models/echo/infer", infer_body(1, 2), {"x-modelyard-compare": "abc"})
        assert running.call("GET", PATH).status == 404


def test_failures_are_not_remembered_and_old_answers_are_forgotten() -> None:
    kept = Comparisons(clock := Clock())
    kept.watching(b"a", (X,), 0.0, lambda outcome: None)(Problem(500, "internal", "no"))
    answer(kept, "b")
    assert [each["id"] for each in json.loads(kept.document())["samples"]] == ["b"]
    clock.now += REMEMBERED_SECONDS + 1
    assert json.loads(kept.document())["samples"] == []


def test_two_replicas_with_unlike_loads_remember_the_same_requests() -> None:
    busy, idle = Comparisons(clock := Clock()), Comparisons(clock)
    for n in range(5 * MOST):
        answer(busy, f"request-{n}")
        if n % 10 == 0:
            answer(idle, f"request-{n}")
    many, few = ({each["id"] for each in json.loads(k.document())["samples"]} for k in (busy, idle))
    assert MOST // 4 < len(many) <= MOST
    assert len(few) == MOST // 2
    both = many & few
    assert both == {name for name in many if int(name.partition("-")[2]) % 10 == 0}
    assert len(both) > MOST // 20


def test_long_tensors_are_cut_and_texts_are_texts() -> None:
    kept = Comparisons(Clock())
    texts = from_array("texts", np.array(["é", "b"]))
    answer(kept, "a", from_array("long", np.zeros((100, 100))), texts)
    [sample] = json.loads(kept.document())["samples"]
    long, short = sample["outputs"]
    assert (long["shape"], len(long["data"])) == ([100, 100], 1024)
    assert short["data"] == ["é", "b"]
