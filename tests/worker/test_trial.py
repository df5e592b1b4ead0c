"""`test` answers one request and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import models
from tests.worker import process


def test_records_reach_a_pipeline_with_text_columns(tmp_path: Path) -> None:
    model = models.sklearn_mixed(tmp_path / "m")
    answer = process.test(model.config(), {"rows": [models.MIXED_RECORD] * 2}, tmp_path).result
    assert answer["device"] == "CPU"
    assert answer["outputs"]["label"] == model.expected["label"] * 2
    assert answer["outputs"]["probabilities"][1] == pytest.approx(model.expected["probabilities"][0])


def test_the_wrong_number_of_columns_is_the_requests_fault(tmp_path: Path) -> None:
    config = models.lightgbm_regressor(tmp_path / "m").config()
    answer = process.test(config, {"inputs": {"input": [[1, 2, 3]]}}, tmp_path)
    assert answer.failure == ("SignatureMismatch", "inputs.input: expected 4 columns, got 3")


def test_columns_of_different_length_are_named(tmp_path: Path) -> None:
    config = models.lightgbm_categories(tmp_path / "m").config()
    inputs = {"age": [1.0, 2.0], "city": ["Delft"], "income": [3.0, 4.0]}
    answer = process.test(config, {"inputs": inputs}, tmp_path)
    assert answer.failure[0] == "SignatureMismatch"
    assert "inputs.city: expected 2 rows, as in inputs.age, got 1" in answer.failure[1]


def test_a_model_that_cannot_answer_a_valid_request_failed_to_predict(tmp_path: Path) -> None:
    config = models.sklearn_classifier(tmp_path / "m").config()
    reason, text = process.test(config, {"rows": [[1, 2, None, 4]]}, tmp_path).failure
    assert reason == "PredictionFailed"
    assert "contains NaN" in text


def test_the_steps_of_a_class_run_in_order(tmp_path: Path) -> None:
    model = models.python_class(tmp_path / "m")
    answer = process.test(model.config(), {"rows": [{"x": 2}, {"x": 5}]}, tmp_path).result
    assert answer["outputs"] == {"y": [6.0, 15.0], "size": [2]}
    assert not list((tmp_path / "m").rglob("__pycache__"))


SHAPES = {
    "functions": (
        "def load(path): return 3\ndef predict(model, inputs): return {'y': inputs['x'] * model}\n",
        [6],
    ),
    "one function": ("def predict(anything): return anything['x'] + 1\n", [3]),
    "async": (
        "import asyncio\n"
        "async def load(path): return 2\n"
        "async def predict(model, inputs):\n    await asyncio.sleep(0)\n    return inputs['x'] ** model\n",
        [4],
    ),
    "class without path": ("class Model:\n    def predict(self, inputs): return list(inputs['x'])\n", [2]),
    "async method": (
        "class Model:\n    async def predict(self, inputs): return [str(v) for v in inputs['x']]\n",
        ["2"],
    ),
    "frame": ("import pandas\ndef predict(inputs): return pandas.DataFrame({'y': inputs['x']})\n", [2]),
    "scalar": ("def predict(inputs): return float(inputs['x'].sum())\n", [2.0]),
    "records": ("def predict(inputs): return [{'y': int(v)} for v in inputs['x']]\n", [2]),
    "not a number": ("def predict(inputs): return inputs['x'] * float('nan')\n", [None]),
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_way_to_write_predict_works(name: str, tmp_path: Path) -> None:
    source, expected = SHAPES[name]
    answer = process.test(
        models.python_model(tmp_path / "m", source).config(), {"inputs": {"x": [2]}}, tmp_path
    ).result
    assert list(answer["outputs"].values()) == [expected]


UNSENDABLE = {
    "None": ("return None", "UserCodeFailed", "predict returned None"),
    "objects": ("return [object()]", "PredictionFailed", "outputs.output: a object cannot be sent"),
    "ragged": ("return [[1, 2], [3]]", "PredictionFailed", "outputs.output: rows differ in length"),
    "complex": (
        "return [1j]",
        "PredictionFailed",
        "outputs.output: elements of type complex128 cannot be sent",
    ),
}


@pytest.mark.parametrize("name", sorted(UNSENDABLE))
def test_an_answer_that_cannot_travel_is_named(name: str, tmp_path: Path) -> None:
    source, reason, text = UNSENDABLE[name]
    model = models.python_model(tmp_path / "m", f"def predict(inputs):\n    {source}\n")
    found = process.test(model.config(), {"inputs": {"x": [2]}}, tmp_path).failure
    assert found[0] == reason
    assert text in found[1]
