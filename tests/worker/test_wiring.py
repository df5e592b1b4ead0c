"""What flows between a pipeline's models is joined by name and compared by datatype and shape."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard_worker.failures import Failure
from modelyard_worker.loaders import wiring
from modelyard_worker.signatures import spec

KNOWN = {
    "scale": [spec("output", "FP32", [-1, 4])],
    "words": [spec("label", "BYTES", [-1]), spec("n", "INT64", [-1])],
}
TABLE = [spec("input", "FP64", [-1, 4])]


def step(after: str = "", **inputs: str) -> dict[str, Any]:
    return {"name": "classify", "after": after, "inputs": inputs}


def test_the_first_step_takes_the_request_and_single_tensors_need_no_names() -> None:
    assert wiring.links(step(), TABLE, {}) == {"input": "request.input"}
    assert wiring.links(step("scale"), TABLE, KNOWN) == {"input": "scale.output"}
    assert wiring.links(step("words"), [spec("n", "FP64", [-1])], KNOWN) == {"n": "words.n"}


def test_a_model_that_takes_anything_gets_all_that_the_step_before_answers() -> None:
    assert wiring.links(step("words"), [], KNOWN) == {"label": "words.label", "n": "words.n"}


@pytest.mark.parametrize(
    ("said", "inputs", "message"),
    [
        (
            step("scale", table="scale.output"),
            TABLE,
            "step classify: the model has no input table; it takes input",
        ),
        (
            step("scale", input="scale.values"),
            TABLE,
            "step scale has no output values, which step classify takes",
        ),
        (
            step("scale"),
            [spec("input", "FP64", [-1, 3])],
            "its input input takes FP64[-1, 3], and scale.output is FP32[-1, 4]",
        ),
        (step("scale"), [spec("input", "FP64", [-1])], "takes FP64[-1], and scale.output is FP32[-1, 4]"),
        (
            step("scale"),
            [spec("input", "INT64", [-1, 4])],
            "takes INT64[-1, 4], and scale.output is FP32[-1, 4]",
        ),
        (step("words", input="words.label"), TABLE, "takes FP64[-1, 4], and words.label is BYTES[-1]"),
        (step("words"), TABLE, "it takes input, and step words answers label, n: say in `inputs`"),
        (
            step("scale", input="scale.output"),
            [*TABLE, spec("age", "FP64", [-1])],
            "nothing flows into its input age",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_step(
    said: dict[str, Any], inputs: list[Any], message: str
) -> None:
    with pytest.raises(Failure) as failed:
        wiring.links(said, inputs, KNOWN)
    assert failed.value.reason == "SignatureMismatch"
    assert message in failed.value.message


def test_steps_that_share_an_input_must_want_it_alike() -> None:
    wide, narrow = spec("x", "FP64", [-1, 4]), spec("x", "FP64", [-1, 3])
    one = ("one", [wide], {"x": "request.table"})
    assert wiring.request_specs([one, ("two", [wide], {"x": "request.table"})]) == [{**wide, "name": "table"}]
    with pytest.raises(Failure, match=r"step two: it takes request\.table as FP64\[-1, 3\], and step one"):
        wiring.request_specs([one, ("two", [narrow], {"x": "request.table"})])


def test_answers_are_those_of_the_last_step_or_those_that_are_named() -> None:
    assert wiring.answers({}, KNOWN, "scale") == {"output": "scale.output"}
    named = wiring.answers({"word": "words.label"}, KNOWN, "scale")
    assert wiring.answer_specs(named, KNOWN) == [spec("word", "BYTES", [-1])]
    with pytest.raises(Failure, match="step words has no output text, which the pipeline's outputs takes"):
        wiring.answers({"word": "words.text"}, KNOWN, "scale")
