"""MLflow packages, Hugging Face directories and forms with files, from publishing to an answer."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from modelyard import Client
from modelyard.domain.errors import Invalid, Refused
from tests.support import models, packages
from tests.support.command import modelyard as command
from tests.support.platform import Running

TEXTS = ["A great, warm film", "awful and dull", "", "日本語 🎉"]
CODE = """
import hashlib

def preprocess(inputs):
    return {"file": inputs["file"], "name": inputs["name"]}

def predict(inputs):
    return {"digest": [hashlib.sha256(each).hexdigest() for each in inputs["file"]],
            "size": [len(each) for each in inputs["file"]],
            "name": [each.decode() for each in inputs["name"]]}

def postprocess(outputs):
    return {**outputs, "big": [size > 3 for size in outputs["size"]]}
"""


@pytest.fixture(scope="module")
def client(platform: Running) -> Iterator[Client]:
    with platform.client() as client:
        yield client


def test_an_mlflow_archive_answers_as_its_estimator_and_keeps_its_run(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    model = packages.mlflow_sklearn(tmp_path / "model")
    path = tmp_path / "model" / "MLmodel"
    path.write_text(path.read_text() + "\nrun_id: 0f1e2d3c\n")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "model", arcname="model")
    said = command(platform, "publish", str(tmp_path / "model.tar.gz"), "--name", "irises", "-o", "json")
    version = json.loads(said.out)
    (artifact,) = version["artifacts"]
    assert (artifact["format"], version["source_run"]) == ("sklearn", "0f1e2d3c")
    assert version["requirements"]["packages"] == ["scikit-learn", "pandas", "numpy"]
    assert artifact["signature"]["sample"]["sepal_length"] == [5.1]
    rows = models.iris_frame().iloc[:150:40]
    assert client.test("irises@1", rows).outputs["label"] == model.predict(rows).tolist()
    service = client.deploy("irises@1", name="irises")
    answered = service.predict(rows)
    assert answered["label"].tolist() == model.predict(rows).tolist()
    client.undeploy("irises")


def test_mlflow_code_answers_with_parameters_and_every_kind_of_result(client: Client, tmp_path: Path) -> None:
    packages.mlflow_code(tmp_path / "model")
    version = client.publish(tmp_path / "model", "scaler")
    assert (version.artifacts[0].format, version.validation) == ("mlflow", "passed")
    assert client.test("scaler@1").outputs == {"value": [1.5], "word": ["ONE"]}
    service = client.deploy("scaler@1", name="scaler")
    assert service.predict([{"x": 2.0, "word": "ab"}]) == [{"value": 2.0, "word": "AB"}]
    expected = {
        "frame": {"value": [3.0], "word": ["AB"]},
        "dict": {"value": [3.0], "word": ["ab"]},
        "series": {"value": [3.0]},
        "list": {"value": [3.0]},
    }
    for kind, outputs in expected.items():
        answer = service.predict_json(_asked({"factor": 1.5, "as": kind}))
        assert {each["name"]: each["data"] for each in answer["outputs"]} == outputs
    with pytest.raises(Invalid, match=r'parameters\.factor: expected double, got "much"'):
        service.predict_json(_asked({"factor": "much"}))
    client.undeploy("scaler")


def _asked(parameters: dict[str, object]) -> dict[str, object]:
    inputs = [
        {"name": "x", "datatype": "FP64", "shape": [1], "data": [2.0]},
        {"name": "word", "datatype": "BYTES", "shape": [1], "data": ["ab"]},
    ]
    return {"inputs": inputs, "parameters": parameters}


def test_an_mlflow_pickle_of_own_code_is_refused_with_the_way_to_trust_it(
    client: Client, tmp_path: Path
) -> None:
    packages.mlflow_pickled(tmp_path / "m")
    with pytest.raises(Refused, match=r"(?s)UnsafeContent.*cloudpickle.*trust to `full`"):
        client.publish(tmp_path / "m", "doubled")


def test_a_text_classifier_is_published_tested_deployed_and_answers(client: Client, tmp_path: Path) -> None:
    probabilities = packages.text_classifier(tmp_path / "m")
    version = client.publish(tmp_path / "m", "reviews")
    (artifact,) = version.artifacts
    assert (artifact.format, artifact.task, version.validation) == (
        "huggingface", "text-classification", "passed",
    )  # fmt: skip
    tested = client.test("reviews@1", {"text": TEXTS})
    np.testing.assert_allclose(tested.outputs["probabilities"], probabilities(TEXTS), atol=1e-5)
    service = client.deploy("reviews@1", name="reviews")
    answers = service.predict([{"text": text} for text in TEXTS])
    assert [each["label"] for each in answers] == [
        ["negative", "positive"][best] for best in probabilities(TEXTS).argmax(axis=1)
    ]
    with pytest.raises(Invalid, match="text"):
        service.predict([{"text": 5}])
    client.undeploy("reviews")


def test_an_embedding_model_says_so_to_the_replica(platform: Running, client: Client, tmp_path: Path) -> None:
    vectors = packages.text_embedder(tmp_path / "m")
    assert client.publish(tmp_path / "m", "vectors").artifacts[0].task == "feature-extraction"
    service = client.deploy("vectors@1", name="vectors")
    (answer,) = service.predict([{"text": "warm film"}])
    mean = vectors("warm film").mean(axis=0)
    np.testing.assert_allclose(answer["embedding"], mean / np.linalg.norm(mean), atol=1e-5)
    (settings,) = [
        found
        for path in platform.home.rglob("replica.json")
        if (found := json.loads(path.read_text()))["service"] == "vectors"
    ]
    assert (settings["task"], settings["worker"]["config"]["task"]) == ("feature-extraction",) * 2
    client.undeploy("vectors")


def test_files_reach_the_models_own_code_from_the_command_line_and_the_sdk(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    written = models.python_model(tmp_path / "code", CODE, files={})
    client.publish(written.directory, "files", sample=[{"file": "abc", "name": "x"}])
    service = client.deploy("files@1", name="files")
    photo = tmp_path / "photo.png"
    photo.write_bytes(bytes(range(256)) * 400)
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    said = command(platform, "predict", "files", "-F", f"file=@{photo}", "-F", "name=Köln")
    assert json.loads(said.out) == [{"digest": digest, "size": 102400, "name": "Köln", "big": True}]
    answer = service.predict_form({"file": [photo, b"abc"], "name": ["one", "two"]})
    assert [(each["size"], each["big"]) for each in answer] == [(102400, True), (3, False)]
    with pytest.raises(Invalid, match='unknown input "fhoto"'):
        service.predict_form({"fhoto": photo, "name": "x"})
    said = command(platform, "predict", "files", "-F", "file=@/nowhere", "-F", "name=x", code=None)
    assert (said.code, "/nowhere cannot be read" in said.err) == (2, True)
    cut = httpx2.post(
        f"{service.url}/predict",
        content=b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
        headers={
            "content-type": "multipart/form-data; boundary=b",
            "authorization": f"Bearer {service.token}",
        },
    )
    assert (cut.status_code, "ends in the middle" in cut.json()["error"]) == (400, True)
    client.undeploy("files")
