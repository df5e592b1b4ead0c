"""Whatever a guest does, its failure has a reason, a place and a remedy, and none of our paths."""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path

import pytest

from tests.support import models
from tests.worker import process

CODE = {
    "missing package": (
        "import nosuchlib.inner\ndef predict(inputs): return inputs\n",
        "MissingPackage",
        "nosuchlib",
    ),
    "renamed package": (
        "import cv2\ndef predict(inputs): return inputs\n",
        "MissingPackage",
        "opencv-python",
    ),
    "raises": (
        "def load(path):\n    raise ValueError('no weights in ' + path)\ndef predict(inputs): return 1\n",
        "UserCodeFailed",
        "model.py line 2 in load: ValueError: no weights in",
    ),
    "syntax": ("def predict(inputs):\n    return (\n", "UserCodeFailed", "model.py line 2: SyntaxError"),
    "exits": ("import sys\nsys.exit(3)\n", "UserCodeFailed", "called sys.exit(3)"),
    "base exception": (
        "class Odd(BaseException): pass\nraise Odd('hm')\n",
        "UserCodeFailed",
        "line 2 in <module>: Odd",
    ),
    "memory": ("raise MemoryError\n", "OutOfMemory", "give the deployment more memory"),
}


@pytest.mark.parametrize("name", sorted(CODE))
def test_failing_code_is_reported_with_its_place(name: str, tmp_path: Path) -> None:
    source, reason, text = CODE[name]
    outcome = process.inspect(models.python_model(tmp_path / "model", source).config(), tmp_path)
    assert outcome.status == 0
    assert outcome.failure[0] == reason
    assert text in outcome.failure[1]
    assert str(tmp_path / "model") + "/" not in outcome.failure[1]
    assert str(process.package()) not in outcome.failure[1]


def test_code_without_predict_says_what_to_write(tmp_path: Path) -> None:
    outcome = process.inspect(models.python_model(tmp_path / "m", "x = 1\n").config(), tmp_path)
    assert outcome.failure == (
        "ModelLoadFailed",
        "the code has no predict: "
        "write a class Model with predict(self, inputs), or a function predict(inputs)",
    )


def test_a_port_that_is_taken_is_named_as_such(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        source = (
            "import socket\n"
            f"socket.create_server(('127.0.0.1', {taken.getsockname()[1]}))\n"
            "def predict(inputs): return inputs\n"
        )
        outcome = process.inspect(models.python_model(tmp_path / "m", source).config(), tmp_path)
    assert outcome.failure[0] == "PortInUse"
    assert outcome.failure[1].startswith("model.py line 2 in <module>: OSError")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    source = "raise PermissionError(13, 'Permission denied', '/data/secret.bin')\n"
    reason, text = process.inspect(models.python_model(tmp_path / "m", source).config(), tmp_path).failure
    assert reason == "PermissionDenied"
    assert "/data/secret.bin" in text


def test_a_changed_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    model = models.python_model(tmp_path / "m", "def predict(inputs): return inputs\n")
    config = model.config()
    changed = "print('ran')\ndef predict(inputs): return inputs\n"
    (tmp_path / "m" / "model.py").write_text(changed)
    outcome = process.inspect(config, tmp_path)
    assert outcome.failure[0] == "ArtifactCorrupt"
    for part in ("model.py", config["files"][0]["sha256"], hashlib.sha256(changed.encode()).hexdigest()):
        assert part in outcome.failure[1]
    assert "ran" not in outcome.stdout


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    model = models.python_class(tmp_path / "m")
    config = model.config()
    (tmp_path / "m" / "factor.json").unlink()
    reason, text = process.inspect(config, tmp_path).failure
    assert reason == "ArtifactCorrupt"
    assert "factor.json" in text


@pytest.mark.parametrize("name", ["onnx", "xgboost-json", "lightgbm-text", "sklearn-pickle"])
def test_a_truncated_model_is_damaged(name: str, tmp_path: Path) -> None:
    model = models.EVERY[name](tmp_path / "m")
    path = tmp_path / "m" / model.entry
    path.write_bytes(path.read_bytes()[:-300])
    reason, text = process.inspect(model.config(), tmp_path).failure
    assert reason == "ArtifactCorrupt"
    assert model.entry in text
    assert "publish it again" in text


def test_a_failing_load_across_versions_names_both_and_the_remedy(tmp_path: Path) -> None:
    model = models.sklearn_classifier(tmp_path / "m", "pickle")
    path = tmp_path / "m" / model.entry
    path.write_bytes(
        path.read_bytes().replace(b"sklearn.linear_model._logistic", b"sklearn.linear_model._logistix")
    )
    reason, text = process.inspect(model.config(framework_version="0.22.1"), tmp_path).failure
    assert reason == "VersionMismatch"
    assert f"made with scikit-learn 0.22.1, this runtime has {models.version('scikit-learn')}" in text
    assert text.endswith("choose or build a runtime with scikit-learn 0.22")


def test_a_version_that_differs_does_no_harm_while_the_model_works(tmp_path: Path) -> None:
    model = models.xgboost_regressor(tmp_path / "m")
    assert process.inspect(model.config(framework_version="1.1.0"), tmp_path).result["sample_outputs"]


def test_an_estimator_that_was_never_fitted_is_refused(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "m"
    with pytest.raises(Exception, match="not fitted"):
        models.write_object(path, LogisticRegression(), "joblib", rows=[models.IRIS_ROW])
    config = {"format": "sklearn", "serialization": "joblib", "entry": "model.joblib", "path": str(path)}
    reason, text = process.inspect(config, tmp_path).failure
    assert (reason, "call fit before publishing" in text) == ("ModelLoadFailed", True)


def test_output_of_megabytes_and_threads_left_running_do_not_hold_the_answer_up(tmp_path: Path) -> None:
    source = (
        "import sys, threading, time\n"
        "print('x' * 4_000_000)\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "def predict(inputs): return {'y': inputs['x']}\n"
    )
    started = time.monotonic()
    model = models.python_model(tmp_path / "m", source)
    outcome = process.test(model.config(), {"inputs": {"x": [1, 2]}}, tmp_path)
    assert outcome.result["outputs"] == {"y": [1, 2]}
    assert len(outcome.stdout) > 4_000_000
    assert time.monotonic() - started < 30


def test_a_guest_that_ends_the_process_leaves_its_exit_code_and_no_answer(tmp_path: Path) -> None:
    source = "import os\ndef predict(inputs): os._exit(9)\n"
    outcome = process.test(
        models.python_model(tmp_path / "m", source).config(), {"inputs": {"x": [1]}}, tmp_path
    )
    assert outcome.status == 9
    assert outcome.document is None


def test_a_guest_that_fails_while_predicting_is_blamed_with_its_line(tmp_path: Path) -> None:
    source = "def predict(inputs):\n    return inputs['y']\n"
    model = models.python_model(tmp_path / "m", source)
    reason, text = process.test(model.config(), {"inputs": {"x": [1]}}, tmp_path).failure
    assert (reason, text) == ("UserCodeFailed", "model.py line 2 in predict: KeyError: 'y'")


def test_a_missing_configuration_is_still_an_answer(tmp_path: Path) -> None:
    reason, text = process.inspect({"format": "onnx"}, tmp_path).failure
    assert (reason, text) == ("ModelLoadFailed", "the worker's configuration must name `format` and `path`")
