"""Keras and TensorFlow models in the process that answers for them, with the frameworks themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.frameworks.models import agrees, config
from tests.worker import process

DEVICES = {"keras": "Keras device: CPU", "tensorflow": "TensorFlow device: CPU"}


@pytest.mark.parametrize("name", ["keras-dense", "tf-text"])
def test_a_model_says_what_it_takes(
    name: str, tensorflow_python: Path, tensorflow_models: dict[str, Any], tmp_path: Path
) -> None:
    written = tensorflow_models[name]
    sampled = config(written, sample=written["inputs"])
    result = process.inspect(sampled, tmp_path, python=tensorflow_python).result
    assert {each["name"] for each in result["signature"]["inputs"]} == set(written["inputs"])
    assert all(each["shape"][0] == -1 for each in result["signature"]["inputs"])
    assert result["device"] == DEVICES[written["format"]]
    agrees(result["sample_outputs"], written["expected"], rows=1)


@pytest.mark.parametrize("name", ["keras-built", "keras-h5", "keras-pair", "keras-text", "tf-dense"])
def test_a_model_answers_as_its_framework_does(
    name: str, tensorflow_python: Path, tensorflow_models: dict[str, Any], tmp_path: Path
) -> None:
    written = tensorflow_models[name]
    answer = process.ask(tensorflow_python, config(written), {"inputs": written["inputs"]}, tmp_path)
    agrees(answer.result["outputs"], written["expected"])


def test_the_same_keras_file_is_computed_by_pytorch_where_that_is_installed(
    torch_python: Path, tensorflow_models: dict[str, Any], tmp_path: Path
) -> None:
    written = tensorflow_models["keras-dense"]
    answer = process.ask(torch_python, config(written), {"inputs": written["inputs"]}, tmp_path)
    agrees(answer.result["outputs"], written["expected"])


def test_a_row_of_another_width_is_the_clients_mistake(
    tensorflow_python: Path, tensorflow_models: dict[str, Any], tmp_path: Path
) -> None:
    request = {"inputs": {"points": [[1.0, 2.0, 3.0]]}}
    failed = process.ask(
        tensorflow_python, config(tensorflow_models["keras-dense"]), request, tmp_path
    ).failure
    assert failed == ("SignatureMismatch", "inputs.points: expected 2 columns, got 3")


def test_weights_that_lie_in_another_file_of_the_machine_are_refused(
    tensorflow_python: Path, tensorflow_models: dict[str, Any], tmp_path: Path
) -> None:
    written = tensorflow_models["keras-outside"]
    reason, message = process.inspect(config(written), tmp_path, python=tensorflow_python).failure
    assert reason == "UnsafeContent"
    assert message.startswith("/more lies in another file")


def test_a_runtime_without_the_framework_says_which_package_is_missing(
    tensorflow_models: dict[str, Any], tmp_path: Path
) -> None:
    reason, message = process.inspect(config(tensorflow_models["tf-dense"]), tmp_path).failure
    assert reason == "MissingPackage"
    assert "tensorflow" in message
