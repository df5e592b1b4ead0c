"""Several models of one version answer as one, from a directory, from objects and over plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import joblib
import numpy as np
import pytest

from modelyard import Client
from modelyard.domain.errors import Invalid, Refused
from tests.e2e.test_serve import serve
from tests.support import models
from tests.support.command import modelyard as command
from tests.support.platform import Running

ROWS = models.iris()[0][:150:30]


@pytest.fixture(scope="module")
def client(platform: Running) -> Iterator[Client]:
    with platform.client() as client:
        yield client


def fitted() -> tuple[Any, Any]:
    """A scaler and a classifier of what it gives."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = models.iris()
    scaler = StandardScaler().fit(x)
    return scaler, LogisticRegression(max_iter=500).fit(scaler.transform(x), y)


def scaler_graph(directory: Path, mean: Any, scale: Any) -> None:
    """A graph that scales: `scaled = (raw - mean) / scale`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Sub", ["raw", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
    ]
    tensors = [
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in (("mean", mean), ("scale", scale))
    ]
    graph = helper.make_graph(
        nodes,
        "scaler",
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["n", 4])],
        tensors,
    )
    directory.mkdir(parents=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save_model(
        helper.make_model(graph, opset_imports=opset, ir_version=8), str(directory / "model.onnx")
    )


def test_a_directory_with_pipeline_yaml_is_published_tested_and_deployed_as_one(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    scaler, classifier = fitted()
    for name, model in (("scale", scaler), ("classify", classifier)):
        (tmp_path / "m" / name).mkdir(parents=True)
        joblib.dump(model, tmp_path / "m" / name / "model.joblib")
    (tmp_path / "m" / "pipeline.yaml").write_text("steps:\n- model: scale\n- model: classify\n")
    said = command(platform, "publish", str(tmp_path / "m"), "--name", "flowers", "-o", "json").out
    version = json.loads(said)
    assert [each["name"] for each in version["artifacts"]] == ["classify", "scale", "pipeline"]
    assert version["validation"] == "passed", version["warnings"]
    whole = version["artifacts"][2]
    assert [(each["name"], each["shape"]) for each in whole["signature"]["inputs"]] == [("input", [-1, 4])]
    assert [each["name"] for each in whole["signature"]["outputs"]] == ["label", "probabilities"]
    expected = classifier.predict_proba(scaler.transform(ROWS))

    tested = json.loads(command(platform, "test", "flowers@1", "-d", json.dumps(ROWS.tolist())).out)
    np.testing.assert_allclose(tested["probabilities"], expected, rtol=1e-6)
    service = client.deploy("flowers@1", name="flowers")
    np.testing.assert_allclose(service.predict(ROWS)["probabilities"], expected, rtol=1e-6)
    assert client.test("flowers@1", ROWS, artifact="scale").outputs["output"] == pytest.approx(
        scaler.transform(ROWS)
    )
    assert client.models.validate("flowers@1").validation == "passed"
    client.undeploy("flowers")


def test_a_graph_feeds_a_booster_with_the_names_that_the_publisher_gives(
    client: Client, tmp_path: Path
) -> None:
    import xgboost

    scaler, _ = fitted()
    x, y = models.iris()
    scaled = scaler.transform(x).astype(np.float32)
    params = {"objective": "multi:softprob", "num_class": 3, "max_depth": 2}
    booster = xgboost.train(params, xgboost.DMatrix(scaled, y), num_boost_round=4)
    scaler_graph(tmp_path / "graph", scaler.mean_, scaler.scale_)
    pipeline = {
        "steps": [
            {"name": "answer", "model": "boost", "inputs": {"input": "first.scaled"}},
            {"name": "first", "model": "graph", "inputs": {"raw": "request.measures"}},
        ],
        "outputs": {"class": "answer.label", "scaled": "first.scaled"},
    }
    version = client.publish({"graph": tmp_path / "graph", "boost": booster}, "mixed", pipeline=pipeline)
    whole = version.artifacts[-1]
    assert [each.name for each in whole.signature.inputs] == ["measures"]
    assert [each.name for each in whole.signature.outputs] == ["class", "scaled"]
    service = client.deploy("mixed@1", name="mixed")
    answer = service.predict({"measures": x.astype(np.float32)})
    expected = booster.predict(xgboost.DMatrix(scaled)).argmax(axis=1)
    assert (answer["class"] == expected).mean() > 0.98  # a hair's breadth at a split may go the other way
    np.testing.assert_allclose(answer["scaled"], scaled, atol=1e-5)
    client.undeploy("mixed")


def test_plain_http_publishes_a_pipeline_in_the_spec(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    scaler, classifier = fitted()
    files = []
    for name, model in (("scale", scaler), ("classify", classifier)):
        joblib.dump(model, tmp_path / f"{name}.joblib")
        files.append(("file", (f"{name}/model.joblib", (tmp_path / f"{name}.joblib").read_bytes())))
    spec = {"name": "rest", "pipeline": {"steps": [{"model": "scale"}, {"model": "classify"}]}}
    answer = httpx2.post(
        f"{client.connection.url}/api/v1/projects/default/models",
        files=[("spec", (None, json.dumps(spec), "application/json")), *files],
        headers={"authorization": f"Bearer {client.connection.token}"},
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    assert client.test("rest@1", ROWS).outputs["label"] == classifier.predict(scaler.transform(ROWS)).tolist()


def test_what_does_not_fit_together_is_refused_with_the_step(client: Client) -> None:
    from sklearn.decomposition import PCA

    scaler, classifier = fitted()
    every = {"scale": scaler, "classify": classifier}
    missing = {"steps": [{"model": "scale"}, {"model": "classifier"}]}
    with pytest.raises(Invalid, match="step classifier: there is no model `classifier`"):
        client.publish(every, "broken", pipeline=missing)
    narrow = {"narrow": PCA(2).fit(models.iris()[0]), "classify": classifier}
    fits = {"steps": [{"model": "narrow"}, {"model": "classify"}]}
    message = r"step classify: its input input takes FP64\[-1, 4\], and narrow\.output is FP64\[-1, 2\]"
    with pytest.raises(Refused, match=message):
        client.publish(narrow, "broken", pipeline=fits)
    assert "broken" not in [each.name for each in client.models.list()]


def test_a_step_that_fails_says_which(client: Client, tmp_path: Path) -> None:
    models.python_model(
        tmp_path / "code", "def predict(inputs):\n    raise RuntimeError('no luck')\n", files={}
    )
    pipeline = {"steps": [{"model": "scale"}, {"model": "code"}]}
    with pytest.raises(Refused, match=r"step code: .*no luck"):
        client.publish({"scale": fitted()[0], "code": tmp_path / "code"}, "unlucky", pipeline=pipeline)


def test_a_pipeline_is_served_from_its_directory_with_no_platform_around(tmp_path: Path) -> None:
    scaler, classifier = fitted()
    for name, model in (("scale", scaler), ("classify", classifier)):
        (tmp_path / "flowers" / name).mkdir(parents=True)
        joblib.dump(model, tmp_path / "flowers" / name / "model.joblib")
    (tmp_path / "flowers" / "pipeline.json").write_text(
        json.dumps({"steps": [{"model": "scale"}, {"model": "classify"}]})
    )
    with serve(tmp_path, str(tmp_path / "flowers")) as served:
        answers = served.ask("/predict", ROWS.tolist())
        assert [each["label"] for each in answers] == classifier.predict(scaler.transform(ROWS)).tolist()
