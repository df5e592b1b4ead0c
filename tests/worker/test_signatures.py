"""The publisher's signature wins where the model agrees, and a contradiction names its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import models
from tests.worker import process

TABLE: dict[str, Any] = {"name": "flower", "datatype": "FP32", "shape": [-1, 4], "columns": []}


def _inspected(tmp_path: Path, **signature: Any) -> process.Outcome:
    config = models.xgboost_binary(tmp_path / "m").config(
        signature={"inputs": [], "outputs": [], **signature}
    )
    return process.inspect(config, tmp_path)


def test_the_publishers_names_and_types_win(tmp_path: Path) -> None:
    outputs = [{"name": "positive", "datatype": "INT32", "shape": [-1], "columns": []}]
    result = _inspected(tmp_path, inputs=[TABLE], outputs=outputs).result
    assert result["signature"]["inputs"] == [{**TABLE, "columns": models.IRIS_NAMES}]
    assert result["signature"]["outputs"] == outputs
    assert result["sample_outputs"] == {"positive": [0]}


def test_columns_in_another_order_are_put_into_the_models(tmp_path: Path) -> None:
    order = models.IRIS_NAMES[::-1]
    straight = _inspected(tmp_path, inputs=[TABLE], sample={"flower": [models.IRIS_ROW]}).result
    turned = _inspected(
        tmp_path, inputs=[{**TABLE, "columns": order}], sample={"flower": [models.IRIS_ROW[::-1]]}
    ).result
    assert turned["sample_outputs"] == straight["sample_outputs"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"inputs": [{**TABLE, "shape": [-1, 3]}]},
            "signature.inputs[0].shape: the signature says 3 columns, the model takes 4",
        ),
        (
            {"inputs": [{**TABLE, "columns": ["a", "b", "c", "d"]}]},
            "signature.inputs[0].columns: the model knows no column a; it was fitted on "
            "sepal_length, sepal_width, petal_length, petal_width",
        ),
        (
            {"outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1]}]},
            "signature.outputs[0].datatype: the signature says BYTES, the model has INT64",
        ),
        (
            {"outputs": [{"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]}]},
            "signature.outputs[0].shape: the signature says [-1, 3], the model has [-1, 2]",
        ),
        ({"sample": {"input": [[1.0, 2.0]]}}, "the signature says 2 columns, the model takes 4"),
    ],
)
def test_a_contradiction_names_the_field(said: dict[str, Any], message: str, tmp_path: Path) -> None:
    reason, text = _inspected(tmp_path, **said).failure
    assert reason == "SignatureMismatch"
    assert message in text


def test_a_text_column_declared_as_numbers_is_a_contradiction(tmp_path: Path) -> None:
    table = {"name": "input", "datatype": "FP64", "shape": [-1, 3], "columns": []}
    config = models.sklearn_mixed(tmp_path / "m").config(signature={"inputs": [table]})
    reason, text = process.inspect(config, tmp_path).failure
    assert reason == "SignatureMismatch"
    assert "text in city" in text


def test_a_graph_without_the_declared_input_is_a_contradiction(tmp_path: Path) -> None:
    config = models.onnx_sum(tmp_path / "m").config(signature={"inputs": [TABLE]})
    reason, text = process.inspect(config, tmp_path).failure
    assert (reason, text) == (
        "SignatureMismatch",
        "signature.inputs[0].name: the model has no input flower; it has x",
    )


def test_custom_code_that_answers_something_else_than_declared_is_a_contradiction(tmp_path: Path) -> None:
    model = models.python_model(tmp_path / "m", "def predict(inputs):\n    return {'y': ['no number']}\n")
    declared = [{"name": "y", "datatype": "FP64", "shape": [-1]}]
    config = model.config(signature={"inputs": [], "outputs": declared, "sample": {"x": [1.0]}})
    reason, text = process.inspect(config, tmp_path).failure
    assert reason == "SignatureMismatch"
    assert text.startswith("signature.outputs.y.datatype: the signature says FP64, the model has BYTES")
