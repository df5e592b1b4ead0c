"""Every format from a file to an answer through the front door, compared with the library itself."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard import Client
from tests.support import catboosts, models, pmml
from tests.support.command import modelyard as command
from tests.support.models import WrittenModel
from tests.support.platform import Running

EVERY = {**models.EVERY, **catboosts.EVERY, **pmml.EVERY}


@pytest.fixture(scope="module")
def client(platform: Running) -> Iterator[Client]:
    with platform.client() as client:
        yield client


@pytest.mark.parametrize("kind", sorted(EVERY))
def test_a_model_of_every_format_is_published_tested_deployed_and_answers_as_its_library_does(
    client: Client, tmp_path: Path, kind: str
) -> None:
    written = EVERY[kind](tmp_path / "model")
    version = client.publish(written.directory, kind, sample=written.rows)
    (artifact,) = version.artifacts
    assert (artifact.format, artifact.serialization) == (written.format, written.serialization)
    assert artifact.signature.inputs
    assert version.validation == "passed", version.warnings

    tested = client.test(version.ref, written.rows)
    agrees(tested.outputs, written.expected)
    if written.format == "onnx":
        assert tested.device == "ONNX Runtime device: CPU"

    service = client.deploy(version.ref, name=kind)
    agrees(answered(service.predict_json(request(written))), written.expected)
    client.undeploy(kind)


def test_an_onnx_model_in_an_archive_keeps_its_external_data(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    written = models.onnx_sum(tmp_path / "graph", external=True)
    archive = tmp_path / "graph.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in written.directory.iterdir():
            tar.add(path, arcname=path.name)
    said = command(platform, "publish", str(archive), "--name", "packed", "-o", "json").out
    assert [f["path"] for f in json.loads(said)["artifacts"][0]["files"]] == ["model.onnx", "weights.bin"]
    said = command(platform, "test", "packed@1", "-d", json.dumps({"x": written.rows}))
    assert json.loads(said.out)["y"] == written.expected["y"]
    assert "ONNX Runtime device: CPU" in said.err


def test_what_is_downloaded_is_byte_for_byte_what_was_published(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    written = models.python_class(tmp_path / "code")
    version = client.publish(written.directory, "bytes", sample=written.rows)
    command(platform, "model", "download", "bytes@1", str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(written.directory)
    assert {f.path: f.sha256 for f in version.artifacts[0].files} == {
        path: hashlib.sha256(data).hexdigest() for path, data in contents(written.directory).items()
    }


def test_several_models_in_one_version_are_pulled_tested_and_deployed_one_by_one(
    client: Client, tmp_path: Path
) -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_iris(return_X_y=True)
    parts = {
        "first": LogisticRegression(max_iter=500).fit(x, y),
        "second": DecisionTreeClassifier(random_state=0, max_depth=2).fit(x, y),
    }
    version = client.publish(parts, "family")
    assert [a.name for a in version.artifacts] == ["first", "second"]
    for name, model in parts.items():
        (file,) = client.models.download("family@1", tmp_path / name, artifact=name)
        files = next(a for a in version.artifacts if a.name == name).files
        assert [hashlib.sha256(file.read_bytes()).hexdigest()] == [f.sha256 for f in files]
        tested = client.test("family@1", x[:3], artifact=name)
        assert tested.outputs["label"] == model.predict(x[:3]).tolist()
        service = client.deploy("family@1", name=name, artifact=name)
        np.testing.assert_allclose(service.predict(x)["probabilities"], model.predict_proba(x), rtol=1e-6)
        client.undeploy(name)


def test_functions_with_preprocessing_and_their_files_serve_records(client: Client, tmp_path: Path) -> None:
    source = """
import json, os

def load(path):
    with open(os.path.join(path, "words.json")) as file:
        return json.load(file)

def preprocess(inputs):
    return {"text": [each.decode().lower() for each in inputs["text"]]}

def predict(model, inputs):
    return {"score": [model.get(each, 0) for each in inputs["text"]]}

def postprocess(outputs):
    return {**outputs, "good": [each > 0 for each in outputs["score"]]}
"""
    written = models.python_model(tmp_path / "code", source, files={"words.json": '{"fine": 2, "bad": -1}'})
    client.publish(written.directory, "words", sample=[{"text": "FINE"}])
    service = client.deploy("words@1", name="words")
    assert service.predict([{"text": "Fine"}, {"text": "BAD"}]) == [
        {"score": 2, "good": True},
        {"score": -1, "good": False},
    ]
    client.undeploy("words")


def request(written: WrittenModel) -> Any:
    """The model's own rows in the form that `predict` takes."""
    rows = written.rows
    if isinstance(rows[0], dict):
        return rows
    name = {"onnx_sum": "x"}.get(written.directory.name, "")
    return {name: rows} if name else rows


def answered(document: Any) -> dict[str, list[Any]]:
    """Outputs by name, from either form of answer."""
    if isinstance(document, list):
        return {name: [row[name] for row in document] for name in document[0]}
    return dict(document)


def agrees(outputs: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    assert outputs
    for name, values in expected.items():
        if isinstance(np.ravel(np.asarray(values, dtype=object))[0], str):
            assert outputs[name] == values
        else:
            np.testing.assert_allclose(
                np.asarray(outputs[name], dtype=float), values, rtol=1e-5, err_msg=name
            )


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
