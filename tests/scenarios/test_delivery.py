"""A version whose files lie in the cluster already is served from there; one machine has no such place."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from modelyard.domain.errors import Invalid, Refused
from modelyard.domain.model import Format, Validation
from modelyard.domain.views import State
from tests.scenarios.engines import Engine, InCluster, until
from tests.scenarios.things import ROW, publish_iris


def test_a_version_is_served_from_a_claim_or_refused_with_the_reason(engine: Engine, tmp_path: Path) -> None:
    with engine.client() as client:
        publish_iris(client, "claimed", versions=2)
        if not isinstance(engine, InCluster):
            with pytest.raises(Invalid, match=r"spec\.model_files: pvc://zoo/1 is a volume of a cluster"):
                client.deploy("claimed@1", name="claimed", model_files="pvc://zoo/1")
            engine.cli("deploy", "claimed@1", "--name", "claimed", "--model-files", "pvc://zoo/1", code=2)
            return
        folder = engine.claim("zoo") / "1"
        client.models.download("claimed@1", folder)
        engine.cli("deploy", "claimed@1", "--name", "claimed", "--model-files", "pvc://zoo/1")
        until(lambda: client.deployments.get("claimed").state is State.RUNNING, "claimed runs")
        wanted = client.service("claimed").predict([ROW])["label"].tolist()
        (pod,) = engine.objects("pods", "claimed-r1")
        assert [each["name"] for each in pod["spec"]["initContainers"]] == ["model-check"]

        # The folder of another version is not that of this one; who served goes on.
        client.deploy("claimed@2", name="claimed", model_files="pvc://zoo/1", wait=False)
        until(
            lambda: "ArtifactCorrupt" in str(client.deployments.explain("claimed")),
            "it is told that the files are another version's",
        )
        assert client.service("claimed").predict([ROW])["label"].tolist() == wanted
        client.undeploy("claimed")


def test_a_version_is_published_from_a_claim_and_its_files_stay_there(engine: Engine, tmp_path: Path) -> None:
    with engine.client() as client:
        if not isinstance(engine, InCluster):
            with pytest.raises(
                Invalid, match=r"source: pvc://shelf/1 is a volume of .*publish the directory"
            ):
                client.publish("pvc://shelf/1", "shelved")
            engine.cli("publish", "pvc://shelf/1", "--name", "shelved", code=2)
            return
        with pytest.raises(
            Refused, match=r"MountFailed: the namespace .* has no PersistentVolumeClaim shelf"
        ):
            client.publish("pvc://shelf/1", "shelved")
        folder = engine.claim("shelf") / "1"
        for digest in shelve(folder):
            assert not list(engine.home.rglob(digest))
        engine.cli("publish", "pvc://shelf/1/", "--name", "shelved", "--sample", str(sample(tmp_path)))
        version = client.models.version("shelved@1")
        assert (version.source, version.validation) == ("pvc://shelf/1", Validation.PASSED)
        (artifact,) = version.artifacts
        assert {file.path: file.sha256 for file in artifact.files} == dict(
            zip(NAMES, sums(folder), strict=True)
        )
        assert artifact.format is Format.SKLEARN
        assert artifact.signature.inputs

        answer = client.models.test("shelved@1", {"rows": [ROW]})
        engine.cli("deploy", "shelved@1", "--name", "shelved")
        until(lambda: client.deployments.get("shelved").state is State.RUNNING, "shelved runs")
        assert client.service("shelved").predict([ROW])["label"].tolist() == [0]
        assert answer.outputs["label"] == [0]
        (pod,) = engine.objects("pods", "shelved-r1")
        assert "model-check" in [each["name"] for each in pod["spec"]["initContainers"]]
        for digest in sums(folder):
            assert not list(engine.home.rglob(digest)), "a file of the model came to the platform"
        with pytest.raises(Refused, match=r"shelved@1 was published from pvc://shelf/1, and its files are"):
            client.models.download("shelved@1", tmp_path / "down")
        client.models.validate("shelved@1")

        # Who changes the claim is found out, by whoever looks next.
        with (folder / NAMES[0]).open("ab") as file:
            file.write(b"x")
        with pytest.raises(Refused, match=r"ArtifactCorrupt: `README.md` at pvc://shelf/1 has sha256"):
            client.models.validate("shelved@1")
        with pytest.raises(
            Refused, match=r"ArtifactCorrupt: `README.md` has .* bytes and was published with"
        ):
            client.models.test("shelved@1", {"rows": [ROW]})
        client.undeploy("shelved")


NAMES = ("README.md", "model.joblib")


def shelve(folder: Path) -> list[str]:
    """A model as a training job leaves it on a volume; its checksums."""
    folder.mkdir(parents=True)
    x, y = load_iris(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=317).fit(x, y), folder / "model.joblib")
    (folder / "README.md").write_text("trained on a Tuesday")
    return sums(folder)


def sums(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES]


def sample(directory: Path) -> Path:
    path = directory / "sample.json"
    path.write_text(json.dumps([ROW]))
    return path
