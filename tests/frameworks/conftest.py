"""Environments of the frameworks, and small models that each of them really wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import frameworks

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def torch_python() -> Path:
    return _interpreter("torch")


@pytest.fixture(scope="session")
def tensorflow_python() -> Path:
    return _interpreter("tensorflow")


@pytest.fixture(scope="session")
def torch_models(torch_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Name to directory, entry, rows and the answers that PyTorch itself gave for them."""
    return written(torch_python, "write_torch.py", tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="session")
def tensorflow_models(tensorflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same for Keras and TensorFlow."""
    return written(tensorflow_python, "write_tensorflow.py", tmp_path_factory.mktemp("tensorflow"))


def _interpreter(name: str) -> Path:
    try:
        return frameworks.interpreter(name)
    except frameworks.Missing as missing:
        pytest.skip(str(missing))


def written(python: Path, script: str, directory: Path) -> dict[str, Any]:
    command = [str(python), str(HERE / script), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((directory / "models.json").read_text())
    return found
