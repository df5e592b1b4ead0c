"""The main story, from a fitted model to an undeployed service, with a `kill -9` in its middle."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import modelyard
from tests.support.patience import PATIENCE
from tests.support.platform import Running


def cli(platform: Running, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", "--server", platform.url, *arguments],
        env=platform.environ, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def test_from_a_fitted_model_to_an_undeployed_service(platform: Running, tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True, as_frame=True)
    first = LogisticRegression(max_iter=1000).fit(x, y)
    second = DecisionTreeClassifier(random_state=0).fit(x, y)
    with platform.client() as client:
        version = client.publish(first, "iris", x_test=x, y_test=y, source_run="run-1")
        assert version.ref == "iris@1"
        assert version.artifacts[0].signature.inputs[0].columns == tuple(x.columns)
        assert version.artifacts[0].framework_version
        assert isinstance(version.metrics, dict)
        assert version.metrics["accuracy"] > 0.9
        assert client.publish(first, "iris", x_test=x, y_test=y, source_run="run-1").version == "1"

        tested = client.test("iris@1", x.head(3))
        assert tested.outputs["label"] == first.predict(x.head(3)).tolist()
        assert not [p for p in platform.processes() if "__main__.py test" in " ".join(p.cmdline())]

        service = client.deploy("iris@1", name="iris", replicas=2)
        assert service.predict(x)["label"].tolist() == first.predict(x).tolist()
        answer = service.predict(x.to_numpy())
        np.testing.assert_allclose(answer["probabilities"], first.predict_proba(x), rtol=1e-6)
        records = service.predict(x.head(2).to_dict(orient="records"))
        assert [each["label"] for each in records] == first.predict(x.head(2)).tolist()

    path = tmp_path / "second.joblib"
    joblib.dump(second, path)
    published = json.loads(cli(platform, "publish", str(path), "--name", "iris", "-o", "json"))
    assert published["version"] == "2"
    before = {r.name: r.pid for r in _replicas(platform)}

    platform.kill()
    assert _infer(platform, service.token, x.head(1).to_numpy().tolist()) == [0]
    platform.start()
    _until(lambda: {r.name: r.pid for r in _replicas(platform)} == before, "the same replicas are adopted")

    cli(platform, "deploy", "iris@2", "--name", "iris", "--replicas", "2")
    with platform.client() as client:
        assert client.predict("iris", x)["label"].tolist() == second.predict(x).tolist()
        assert [r.spec.model for r in client.deployments.history("iris")] == ["iris@2", "iris@1"]
    cli(platform, "rollback", "iris")
    with platform.client() as client:
        assert client.predict("iris", x)["label"].tolist() == first.predict(x).tolist()
        assert client.deployments.get("iris").spec.model == "iris@1"
        with pytest.raises(modelyard.Conflict):
            client.models.delete("iris@1")
    assert "is healthy" in cli(platform, "explain", "iris")
    assert cli(platform, "logs", "iris", "--tail", "5")
    cli(platform, "undeploy", "iris")
    cli(platform, "status", "iris", code=3)
    assert not [p for p in platform.processes() if "default/iris" in " ".join(p.cmdline())]
    cli(platform, "model", "delete", "iris")


def test_an_unmodified_triton_client_works_at_the_front_door(platform: Running) -> None:
    import tritonclient.http as triton

    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    with platform.client() as client:
        client.publish(model, "flowers", x_test=x)
        client.deploy("flowers@1", name="flowers", public=True)
    door = triton.InferenceServerClient(f"127.0.0.1:{platform.port}")
    assert door.is_server_live()
    assert door.is_server_ready()
    assert door.is_model_ready("flowers")
    declared = door.get_model_metadata("flowers")["inputs"][0]
    tensor = triton.InferInput(declared["name"], list(x.shape), declared["datatype"])
    tensor.set_data_from_numpy(x)
    np.testing.assert_array_equal(door.infer("flowers", [tensor]).as_numpy("label"), model.predict(x))


def test_the_demo_reaches_right_answers_and_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    running = Running(tmp_path / "home", flags=("--demo",)).start()
    try:
        _until(lambda: "demo: done" in running.output.read_text(), "the demo is done", seconds=120)
        text = running.output.read_text()
        assert "failed" not in text
        assert "first prediction" in text
        assert running.interrupt() == 0
        assert running.processes() == []
        started = time.monotonic()
        running.start()
        _until(lambda: running.output.read_text().count("demo: done") == 2, "the second start finds all")
        assert "was there already" in running.output.read_text()
        print(f"second start until the last prediction: {time.monotonic() - started:.1f} s")
        assert running.interrupt() == 0
        assert running.processes() == []
    finally:
        running.stop()


def _infer(platform: Running, token: str, rows: list[list[float]]) -> list[int]:
    body = {"inputs": [{"name": "input", "datatype": "FP64", "shape": [len(rows), 4], "data": rows}]}
    request = urllib.request.Request(
        f"{platform.url}/services/default/iris/v2/models/iris/infer",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        outputs = json.load(response)["outputs"]
    return next(each["data"] for each in outputs if each["name"] == "label")


def _replicas(platform: Running) -> tuple[modelyard.domain.deployment.Replica, ...]:
    with platform.client() as client:
        return client.deployments.get("iris").status.replicas


def _until(holds: object, what: str, *, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)
