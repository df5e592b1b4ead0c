"""Packages of MLflow and Hugging Face are loaded by a real process and answer as their libraries do."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.domain.model import Format
from modelyard.formats import detect
from tests.support import models, packages
from tests.worker import process

TEXTS = ["A great, warm film", "awful and dull", "", "日本語 🎉 great", "fun " * 40]


def config(directory: Path, *, hint: Format | None = None, **more: Any) -> dict[str, Any]:
    """The worker.json that the platform would write for what it detects."""
    found = detect(directory, hint=hint)
    return {
        "format": found.format.value,
        "serialization": found.serialization.value,
        "entry": found.entry,
        "path": str(directory),
        "files": models.files_of(directory),
        "signature": asdict(found.declared) if found.declared else None,
        "function": found.function.value,
        "framework_version": found.framework_version,
        "task": found.task.value,
        "runtime": "host",
        "threads": 1,
        **more,
    }


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    directory = tmp_path_factory.mktemp("flowers") / "model"
    return directory, packages.mlflow_sklearn(directory)


@pytest.mark.parametrize("hint", [None, Format.MLFLOW])
def test_a_plain_flavor_answers_with_and_without_mlflow(
    hint: Format | None, flowers: tuple[Path, Any], tmp_path: Path
) -> None:
    directory, model = flowers
    rows = models.iris_frame().iloc[:70:23]
    request = {"inputs": {name: rows[name].tolist() for name in rows.columns}}
    result = process.test(config(directory, hint=hint), request, tmp_path).result
    answered = result["outputs"]["output" if hint else "label"]
    assert answered == model.predict(rows).tolist()


@pytest.mark.parametrize(("flavor", "key"), [("xgboost", "xgb_model"), ("lightgbm", "lgb_model")])
def test_boosters_with_columns_answer_as_they_did(flavor: str, key: str, tmp_path: Path) -> None:
    kind = importlib.import_module(flavor)
    frame, y = models.iris_frame(), models.iris()[1]
    if flavor == "xgboost":
        model = kind.XGBClassifier(n_estimators=3, max_depth=2).fit(frame, y)
    else:
        model = kind.LGBMClassifier(n_estimators=3, verbose=-1, min_child_samples=5).fit(frame, y)
    signature = packages.inferred(frame, model.predict(frame))
    packages.saved(flavor, tmp_path / "m", **{key: model, "signature": signature})
    rows = frame.iloc[:150:40]
    request = {"inputs": {name: rows[name].tolist() for name in rows.columns}}
    outputs = process.test(config(tmp_path / "m"), request, tmp_path).result["outputs"]
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(rows), rtol=1e-5)


def test_code_answers_with_the_names_of_its_frame(tmp_path: Path) -> None:
    packages.mlflow_code(tmp_path / "m")
    result = process.inspect(config(tmp_path / "m"), tmp_path).result
    assert [(each["name"], each["datatype"]) for each in result["signature"]["inputs"]] == [
        ("x", "FP64"), ("word", "BYTES"),
    ]  # fmt: skip
    assert result["sample_outputs"] == {"value": [1.5], "word": ["ONE"]}


def test_what_a_request_gets_wrong_is_named(tmp_path: Path) -> None:
    packages.mlflow_code(tmp_path / "m")
    reason, message = process.test(config(tmp_path / "m"), {"inputs": {"x": [1.0]}}, tmp_path).failure
    assert (reason, message) == ("SignatureMismatch", "inputs.word: missing; expected x, word")


def test_code_that_does_not_load_says_where(tmp_path: Path) -> None:
    packages.mlflow_code(tmp_path / "m")
    source = tmp_path / "m" / "scaler.py"
    source.write_text("raise RuntimeError('no table')\n")
    reason, message = process.inspect(config(tmp_path / "m"), tmp_path).failure
    assert reason in ("UserCodeFailed", "ModelLoadFailed")
    assert "no table" in message


def test_a_text_classifier_answers_as_the_fitted_regression(tmp_path: Path) -> None:
    probabilities = packages.text_classifier(tmp_path / "m")
    outputs = process.test(config(tmp_path / "m"), {"inputs": {"text": TEXTS}}, tmp_path).result["outputs"]
    expected = probabilities(TEXTS)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    assert outputs["label"] == [["negative", "positive"][best] for best in expected.argmax(axis=1)]
    np.testing.assert_allclose(outputs["score"], expected.max(axis=1), atol=1e-5)


def test_many_texts_are_answered_in_order_and_none_with_nothing(tmp_path: Path) -> None:
    probabilities = packages.text_classifier(tmp_path / "m")
    texts = [f"great {'dull ' * (at % 7)}" for at in range(70)]
    outputs = process.test(config(tmp_path / "m"), {"inputs": {"text": texts}}, tmp_path).result["outputs"]
    np.testing.assert_allclose(outputs["probabilities"], probabilities(texts), atol=1e-5)
    outputs = process.test(config(tmp_path / "m"), {"inputs": {"text": []}}, tmp_path).result["outputs"]
    assert outputs == {"label": [], "score": [], "probabilities": []}


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_embeddings_are_pooled_and_normalised_as_the_modules_say(pooling: str, tmp_path: Path) -> None:
    vectors = packages.text_embedder(tmp_path / "m", pooling=pooling)
    outputs = process.test(config(tmp_path / "m"), {"inputs": {"text": TEXTS}}, tmp_path).result["outputs"]
    for text, embedding in zip(TEXTS, outputs["embedding"], strict=True):
        words = vectors(text)
        if not len(words):
            continue
        pooled = {"mean": words.mean(axis=0), "cls": words[0], "max": words.max(axis=0)}[pooling]
        np.testing.assert_allclose(embedding, pooled / max(np.linalg.norm(pooled), 1e-12), atol=1e-5)


def test_an_embedding_model_says_what_it_is_for(tmp_path: Path) -> None:
    packages.text_embedder(tmp_path / "m", normalised=False)
    result = process.inspect(config(tmp_path / "m"), tmp_path).result
    assert result["task"] == "feature-extraction"
    assert result["signature"]["outputs"] == [
        {"name": "embedding", "datatype": "FP32", "shape": [-1, 3], "columns": []}
    ]


def test_labels_that_do_not_fit_the_graph_are_found_when_it_is_loaded(tmp_path: Path) -> None:
    packages.text_classifier(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(path.read_text().replace('"1": "positive"', '"1": "positive", "2": "neutral"'))
    reason, message = process.inspect(config(tmp_path / "m"), tmp_path).failure
    assert reason == "ModelLoadFailed"
    assert "names 3 classes" in message
