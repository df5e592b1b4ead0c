"""Every format is loaded by a real process and answers what the fitted object answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import catboosts, models
from tests.worker import process

EVERY = {**models.EVERY, **catboosts.EVERY}
NUMERIC = {"name": "input", "datatype": "FP64", "shape": [-1, 4], "columns": ["x0", "x1", "x2", "x3"]}
NAMED = {**NUMERIC, "columns": models.IRIS_NAMES}


def _assert_same(answered: Any, expected: Any) -> None:
    if np.asarray(expected).dtype.kind in "US":
        assert answered == expected
    else:
        np.testing.assert_allclose(np.asarray(answered, float), np.asarray(expected, float), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_model_answers_its_sample_as_the_fitted_object_does(name: str, tmp_path: Path) -> None:
    model = EVERY[name](tmp_path / "model")
    result = process.inspect(model.config(sample=model.rows), tmp_path).result
    assert result["signature"]["sample"] is not None
    assert [each["name"] for each in result["signature"]["outputs"]] == list(result["sample_outputs"])
    for output, expected in model.expected.items():
        _assert_same(result["sample_outputs"][output], expected)


def test_an_array_model_has_one_table_and_a_row_of_zeros_as_its_sample(tmp_path: Path) -> None:
    result = process.inspect(models.xgboost_classifier(tmp_path / "m").config(), tmp_path).result
    assert result["signature"]["inputs"] == [NUMERIC]
    assert result["signature"]["sample"] == {"input": [[0.0, 0.0, 0.0, 0.0]]}
    assert result["signature"]["outputs"] == [
        {"name": "label", "datatype": "INT64", "shape": [-1], "columns": []},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3], "columns": ["0", "1", "2"]},
    ]
    assert result["function"] == "classification"
    assert result["algorithm"] == "Booster (multi:softprob)"
    assert result["device"] == "CPU"


def test_a_forest_on_named_columns_tells_its_names_and_text_classes(tmp_path: Path) -> None:
    result = process.inspect(models.sklearn_forest(tmp_path / "m").config(), tmp_path).result
    assert result["signature"]["inputs"] == [NAMED]
    label, probabilities = result["signature"]["outputs"]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [-1], "columns": []}
    assert probabilities["columns"] == ["setosa", "versicolor", "virginica"]
    assert result["algorithm"] == "RandomForestClassifier"
    assert result["framework_version"] == models.version("scikit-learn")


def test_a_pipeline_with_text_columns_has_one_tensor_per_column(tmp_path: Path) -> None:
    result = process.inspect(models.sklearn_mixed(tmp_path / "m").config(), tmp_path).result
    kinds = {each["name"]: (each["datatype"], each["shape"]) for each in result["signature"]["inputs"]}
    assert kinds == {"age": ("FP64", [-1]), "city": ("BYTES", [-1]), "income": ("FP64", [-1])}
    assert result["signature"]["sample"] == {"age": [0.0], "city": ["Aachen"], "income": [0.0]}


def test_a_model_fitted_on_float32_takes_float32_and_gives_both_targets(tmp_path: Path) -> None:
    result = process.inspect(models.sklearn_regressor(tmp_path / "m").config(), tmp_path).result
    assert result["signature"]["inputs"][0]["datatype"] == "FP32"
    assert result["signature"]["outputs"][0]["shape"] == [-1, 2]
    assert result["function"] == "regression"


def test_an_onnx_graph_keeps_its_own_names_and_says_its_device(tmp_path: Path) -> None:
    outcome = process.inspect(models.onnx_sum(tmp_path / "m", external=True).config(), tmp_path)
    assert (tmp_path / "m" / "weights.bin").stat().st_size > 1000
    assert outcome.stdout.splitlines() == ["ONNX Runtime device: CPU"]
    assert outcome.result["device"] == "ONNX Runtime device: CPU"
    assert outcome.result["signature"]["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3], "columns": []}
    ]


def test_probabilities_that_a_graph_gives_as_maps_become_a_tensor(tmp_path: Path) -> None:
    model = models.onnx_classifier(tmp_path / "m", zipmap=True)
    result = process.inspect(model.config(sample=model.rows), tmp_path).result
    name = next(name for name in result["sample_outputs"] if "prob" in name)
    assert np.asarray(result["sample_outputs"][name]).shape == (1, 3)
    assert sum(result["sample_outputs"][name][0]) == pytest.approx(1.0, abs=1e-5)


def test_custom_code_without_a_sample_is_loaded_and_its_signature_stays_open(tmp_path: Path) -> None:
    result = process.inspect(models.python_class(tmp_path / "m").config(), tmp_path).result
    assert result["signature"]["inputs"] == []
    assert result["sample_outputs"] is None
    assert result["algorithm"] == "Python class"


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_model_agrees_with_the_signature_that_its_own_inspection_found(name: str, tmp_path: Path) -> None:
    model = EVERY[name](tmp_path / "model")
    found = process.inspect(model.config(sample=model.rows), tmp_path).result["signature"]
    result = process.test(model.config(signature=found), {"rows": model.rows}, tmp_path).result
    for output, expected in model.expected.items():
        _assert_same(result["outputs"][output], expected)


def test_labels_of_several_kinds_at_once_agree_with_their_own_signature(tmp_path: Path) -> None:
    from sklearn.neural_network import MLPClassifier

    x, y = models.iris()
    model = MLPClassifier((4,), max_iter=2000, random_state=0).fit(x, np.column_stack([y == 0, y == 1]))
    written = models.write_object(tmp_path / "m", model, "joblib", rows=[models.IRIS_ROW])
    found = process.inspect(written.config(), tmp_path).result["signature"]
    result = process.test(written.config(signature=found), {"rows": written.rows}, tmp_path).result
    assert result["outputs"]["label"] == model.predict([models.IRIS_ROW]).tolist()


def test_a_model_with_categories_takes_a_tensor_for_each_column(tmp_path: Path) -> None:
    written = catboosts.catboost_classifier(tmp_path / "m")
    result = process.inspect(written.config(), tmp_path).result
    kinds = {each["name"]: (each["datatype"], each["shape"]) for each in result["signature"]["inputs"]}
    assert kinds == {"age": ("FP64", [-1]), "city": ("BYTES", [-1]), "income": ("FP64", [-1])}
    assert result["signature"]["outputs"][1]["columns"] == ["local", "old", "young"]
    assert (result["algorithm"], result["function"]) == ("CatBoost (MultiClass)", "classification")
    wrong = [{**models.MIXED_RECORD, "city": 3}, {**models.MIXED_RECORD, "age": "old"}, {"age": 1.0}]
    asked = [{"rows": [models.MIXED_RECORD, each]} for each in wrong]
    asked.append({"rows": [{**models.MIXED_RECORD, "age": None, "city": "never seen"}]})
    *failed, answered = process.ask_each(written.config(), asked, tmp_path)
    assert [each["failure"]["message"] for each in failed] == [
        "inputs.city[1]: expected a string (BYTES), got 3",
        'inputs.age[1]: expected FP64, got "old"',
        'rows[1]: missing column "city"; expected age, city, income',
    ]
    assert sum(answered["result"]["probabilities"][0]) == pytest.approx(1.0)


def test_several_labels_at_once_have_a_column_each(tmp_path: Path) -> None:
    import catboost

    x, y = models.iris()
    model = catboost.CatBoostClassifier(
        iterations=5, depth=2, loss_function="MultiLogloss", **catboosts.OPTIONS
    )
    model.fit(x, np.column_stack([y == 0, y == 1]).astype(int))
    (tmp_path / "m").mkdir()
    model.save_model(tmp_path / "m/model.cbm")
    written = catboosts.catboost_binary(tmp_path / "other")
    config = {
        **written.config(),
        "serialization": "catboost-cbm",
        "entry": "model.cbm",
        "path": str(tmp_path / "m"),
    }
    config["files"] = models.files_of(tmp_path / "m")
    result = process.test(config, {"rows": [models.IRIS_ROW] * 2}, tmp_path).result["outputs"]
    assert result["label"] == model.predict([models.IRIS_ROW] * 2).tolist()
    _assert_same(result["probabilities"], model.predict_proba([models.IRIS_ROW] * 2))
