"""`modelyard serve`: files answer at once, with no platform around."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.support.platform import Running
from tests.support.ports import free_port

SECONDS = 60


@pytest.fixture(scope="module")
def fitted() -> tuple[LogisticRegression, Any]:
    x, y = load_iris(return_X_y=True)
    return LogisticRegression(max_iter=1000).fit(x, y), x


class Served:
    """A `modelyard serve` that runs."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, document: Any = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        with urllib.request.urlopen(f"{self.url}{path}", body, timeout=30) as response:
            return json.load(response)

    def wait_ready(self) -> None:
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.ask("/v2/health/ready")
            except OSError:
                assert self.process.poll() is None, self.process.communicate()
                assert time.monotonic() < end
                time.sleep(0.05)
            else:
                return

    def lines_until(self, mark: str) -> str:
        assert self.process.stderr is not None
        said = ""
        while mark not in said:
            line = self.process.stderr.readline()
            assert line, said
            said += line
        return said

    def end(self, number: signal.Signals = signal.SIGINT) -> str:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=SECONDS)
        return said


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "modelyard", "serve", *arguments]


def environment(home: Path) -> dict[str, str]:
    """Nothing of an installation: neither a home nor variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    return kept | {"MODELYARD_HOME": str(home / "none"), "HOME": str(home), "TMPDIR": str(home)}


@contextmanager
def serve(home: Path, *arguments: str) -> Iterator[Served]:
    port = free_port()
    process = subprocess.Popen(
        command(*arguments, "--port", str(port)),
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    served = Served(process, port)
    try:
        served.wait_ready()
        yield served
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def refuse(home: Path, *arguments: str) -> tuple[int, str]:
    ended = subprocess.run(
        command(*arguments), env=environment(home), capture_output=True, text=True, timeout=SECONDS
    )
    return ended.returncode, ended.stderr


def test_a_file_answers_at_once_and_leaves_nothing_behind(tmp_path: Path, fitted: Any) -> None:
    model, x = fitted
    joblib.dump(model, tmp_path / "iris.joblib")
    (tmp_path / "notes.txt").write_text("not a model")
    with serve(tmp_path, str(tmp_path / "iris.joblib"), "--workers", "2") as served:
        tensor = {"name": "input", "datatype": "FP64", "shape": [2, 4], "data": x[[0, 100]].tolist()}
        answer = served.ask("/v2/models/iris/infer", {"inputs": [tensor]})
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        assert outputs["label"] == model.predict(x[[0, 100]]).tolist()
        assert np.allclose(np.reshape(outputs["probabilities"], (2, 3)), model.predict_proba(x[[0, 100]]))
        assert served.ask("/predict", x[:1].tolist())[0]["label"] == model.predict(x[:1])[0]
        family = psutil.Process(served.process.pid).children(recursive=True)
        assert len(family) == 3
        said = served.lines_until("try: ")
        suggested = shlex.split(said.rpartition("try: ")[2])
        assert suggested[:2] == ["curl", f"{served.url}/v2/models/iris/infer"]
        assert "outputs" in served.ask("/v2/models/iris/infer", json.loads(suggested[3]))
        served.end()
        assert served.process.returncode == 0
    assert f"iris (sklearn LogisticRegression) answers at {served.url}/v2/models/iris" in said
    assert psutil.wait_procs(family, timeout=SECONDS)[1] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iris.joblib", "notes.txt"]


def test_a_triton_repository_is_served_by_name_and_version(tmp_path: Path, fitted: Any) -> None:
    model, x = fitted
    content = to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    for version in ("1", "2"):
        directory = tmp_path / "repo" / "flowers" / version
        directory.mkdir(parents=True)
        (directory / "model.onnx").write_bytes(content)
    (tmp_path / "repo" / "flowers" / "config.pbtxt").write_text(
        'backend: "onnxruntime"\nmax_batch_size: 16\nversion_policy: { all { } }'
    )
    (tmp_path / "repo" / "other" / "1").mkdir(parents=True)
    (tmp_path / "repo" / "other" / "config.pbtxt").write_text('backend: "python"')
    with serve(tmp_path, str(tmp_path / "repo")) as served:
        index = served.ask("/v2/repository/index", {})
        assert [(entry["name"], entry["version"], entry["state"]) for entry in index] == [
            ("flowers", "2", "READY"),
            ("flowers", "1", "READY"),
        ]
        tensor = {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": x[0].tolist()}
        for path in ("flowers", "flowers/versions/1", "flowers/versions/2"):
            answer = served.ask(f"/v2/models/{path}/infer", {"inputs": [tensor]})
            assert answer["outputs"][0]["data"] == model.predict(x[:1]).tolist()
        said = served.end(signal.SIGTERM)
        assert served.process.returncode == 0
    assert "left out: other: other needs Triton's backend `python`" in said


def test_an_mlserver_repository_is_served(tmp_path: Path, fitted: Any) -> None:
    model, x = fitted
    (tmp_path / "repo" / "skl").mkdir(parents=True)
    joblib.dump(model, tmp_path / "repo" / "skl" / "model.joblib")
    (tmp_path / "repo" / "skl" / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "flowers",
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": "./model.joblib", "version": "v0.1.0"},
            }
        )
    )
    with serve(tmp_path, str(tmp_path / "repo")) as served:
        assert served.ask("/v2/models/flowers")["versions"] == ["v0.1.0"]
        answer = served.ask("/v2/models/flowers/predict", x[:1].tolist())
        assert answer[0]["label"] == model.predict(x[:1])[0]


def test_a_published_version_is_served_from_its_reference(platform: Running, fitted: Any) -> None:
    model, x = fitted
    with platform.client() as client:
        client.publish(model, "pulled", x_test=x)
    port = free_port()
    process = subprocess.Popen(
        command("pulled@1", "--port", str(port)),
        env=platform.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    served = Served(process, port)
    try:
        served.wait_ready()
        answer = served.ask("/v2/models/pulled/predict", x[:1].tolist())
        assert answer[0]["label"] == model.predict(x[:1])[0]
    finally:
        served.end()


def test_the_front_does_not_outlive_who_started_it(tmp_path: Path, fitted: Any) -> None:
    joblib.dump(fitted[0], tmp_path / "m.joblib")
    with serve(tmp_path, str(tmp_path / "m.joblib")) as served:
        family = psutil.Process(served.process.pid).children(recursive=True)
        served.process.kill()
        gone, alive = psutil.wait_procs(family, timeout=SECONDS)
        assert (len(gone), alive) == (2, [])


def test_what_cannot_be_served_says_why(tmp_path: Path) -> None:
    assert refuse(tmp_path, str(tmp_path / "none"))[0] == 3
    (tmp_path / "readme.md").write_text("hello")
    code, said = refuse(tmp_path, str(tmp_path / "readme.md"))
    assert (code, "not a model I know" in said) == (4, True)
    (tmp_path / "model.py").write_text("import nothing_of_that_name\ndef predict(inputs): return inputs")
    code, said = refuse(tmp_path, str(tmp_path / "model.py"))
    assert (code, "nothing_of_that_name" in said, "Traceback (most" in said) == (4, True, False)
    code, said = refuse(tmp_path, str(tmp_path / "model.py"), "--host", "0.0.0.0")
    assert (code, "--insecure" in said) == (6, True)
    assert refuse(tmp_path, str(tmp_path / "model.py"), "--trust", "some")[0] == 2


def test_a_port_in_use_is_named(tmp_path: Path, platform: Running) -> None:
    (tmp_path / "model.py").write_text("def predict(inputs): return inputs")
    code, said = refuse(tmp_path, str(tmp_path / "model.py"), "--port", str(platform.port))
    assert (code, f"cannot listen on 127.0.0.1:{platform.port}" in said) == (1, True)
