"""Pipelines are read into an order in which they can be answered, or refused with the step's name."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.domain import pipeline
from modelyard.domain.errors import Invalid
from modelyard.domain.model import Artifact, Format, Serialization

PARTS = {
    name: Artifact(name=name, format=Format.ONNX, serialization=Serialization.ONNX, entry="m.onnx", files=())
    for name in ("a", "b", "c")
}


def parsed(*steps: Any, **more: Any) -> Any:
    return pipeline.parse({"steps": list(steps), **more}, PARTS, {name: f"in/{name}" for name in PARTS})


def test_steps_take_from_the_one_in_front_unless_they_say_otherwise() -> None:
    found = parsed({"model": "a"}, {"name": "second", "model": "b"}, {"model": "c", "inputs": {"x": "a.y"}})
    assert [(step.name, step.folder, pipeline.sources(step)) for step in found.steps] == [
        ("a", "in/a", ()), ("second", "in/b", ("a",)), ("c", "in/c", ("a",)),
    ]  # fmt: skip


def test_steps_are_ordered_by_what_flows() -> None:
    found = parsed(
        {"model": "a", "inputs": {"x": "b.y", "z": "request.z"}},
        {"model": "b", "inputs": {"x": "request.x"}},
        outputs={"answer": "a.label"},
    )
    assert [step.name for step in found.steps] == ["b", "a"]
    assert found.outputs == {"answer": "a.label"}


def test_a_model_may_answer_twice_under_two_names() -> None:
    found = parsed({"name": "one", "model": "a"}, {"name": "two", "model": "a"})
    assert [step.artifact.name for step in found.steps] == ["a", "a"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"steps": []}, r"pipeline\.steps: expected a list of 1 to 50 steps"),
        ({"steps": [{}]}, r"pipeline\.steps\[0\]: expected an object that names a `model`"),
        ({"steps": [{"model": "d"}]}, r"step d: there is no model `d`; the version has a, b, c"),
        ({"steps": [{"model": "a"}, {"model": "a"}]}, "step a: another step has that name"),
        (
            {"steps": [{"model": "a", "name": "request"}]},
            "step request: another step has that name, or it is kept",
        ),
        ({"steps": [{"model": "a", "name": "x.y"}]}, "`name` must be a word"),
        ({"steps": [{"model": "a", "input": {}}]}, r"pipeline\.steps\[0\]: `input` is not known here"),
        ({"steps": [{"model": "a"}], "output": {}}, "`output` is not known here"),
        ({"steps": [{"model": "a", "inputs": ["x"]}]}, "expected an object of name to source"),
        (
            {"steps": [{"model": "a"}, {"model": "b", "inputs": {"x": "aa.y"}}]},
            r"pipeline\.steps\[1\]\.inputs\.x: step b: `aa\.y` is neither .*; the steps are a, b",
        ),
        (
            {"steps": [{"model": "a"}], "outputs": {"x": "b.y"}},
            r"pipeline\.outputs\.x: `b\.y` is no STEP\.OUTPUT",
        ),
        (
            {"steps": [{"model": "a", "inputs": {"x": "b.y"}}, {"model": "b"}]},
            "step a: the steps a, b wait for one another: there is a cycle",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        pipeline.parse(document, PARTS, {name: name for name in PARTS})
