"""Models that need different libraries answer side by side, each in an environment built for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import uv
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import modelyard
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.runtime import RuntimeSpec
from modelyard.domain.views import State
from tests.support import models
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running

OLD = ("scikit-learn==1.5.2", "numpy==1.26.4")
TRAIN = """
import json, sys, joblib, sklearn
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
x, y = load_iris(return_X_y=True)
model = RandomForestClassifier(n_estimators=5, random_state=1).fit(x, y)
joblib.dump(model, sys.argv[1])
print(json.dumps([sklearn.__version__, model.predict_proba(x[::10]).tolist()]))
"""
WHERE = """
import sklearn, sys


def predict(inputs):
    return {"version": [sklearn.__version__], "prefix": [sys.prefix], "path": [":".join(sys.path)]}
"""


@dataclass(frozen=True)
class Old:
    """A model that an earlier scikit-learn really fitted."""

    file: Path
    probabilities: list[list[float]]
    """Of every tenth flower, from that scikit-learn itself."""


@pytest.fixture(scope="module")
def cache() -> str:
    """uv's cache on this machine, so that what was fetched once is not fetched again."""
    found = subprocess.run([uv.find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    directory = tmp_path_factory.mktemp("old")
    python, file = directory / "env/bin/python", directory / "model.joblib"
    subprocess.run([uv.find_uv_bin(), "venv", "-q", "--python", "3.11", directory / "env"], check=True)
    subprocess.run([uv.find_uv_bin(), "pip", "install", "-q", "--python", python, *OLD], check=True)
    said = subprocess.run([python, "-c", TRAIN, file], capture_output=True, text=True, check=True).stdout
    version, probabilities = json.loads(said)
    assert version == "1.5.2"
    return Old(file, probabilities)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, cache: str) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("environments") / "home"
    running = Running(home, variables={"UV_CACHE_DIR": cache}).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def requirements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("requirements") / "requirements.txt"
    path.write_text("".join(f"{line}\n" for line in OLD))
    return path


def test_two_versions_of_scikit_learn_answer_at_once_and_the_environment_is_shared(
    platform: Running, old: Old, requirements: Path
) -> None:
    x, y = load_iris(return_X_y=True)
    ours = LogisticRegression(max_iter=500).fit(x, y)
    with platform.client() as client:
        client.publish(ours, "ours", x_test=x)
        command(platform, "publish", str(old.file), "--name", "old", "--requirements", str(requirements))
        services = client.deploy("ours@1", name="ours"), client.deploy("old@1", name="old")
        for _ in range(3):
            now, before = (service.predict(x[::10])["probabilities"] for service in services)
            np.testing.assert_allclose(now, ours.predict_proba(x[::10]), rtol=1e-6)
            np.testing.assert_allclose(before, old.probabilities, rtol=1e-6)
        view = client.deployments.get("old")
        runtime = next(r for r in client.runtimes.list() if r.name.startswith("auto-"))
        assert client.deployments.history("old")[0].spec.runtime == runtime.name
        assert runtime.status.packages["scikit-learn"] == "1.5.2"
        assert runtime.status.packages["numpy"] == "1.26.4"
        assert not view.status.warnings
        until(lambda: client.models.version("old@1").validation == "passed", "it was loaded and found sound")
        assert client.models.version("old@1").artifacts[0].framework_version == "1.5.2"

        tested = client.test("old@1", x[:30:10].tolist())
        assert tested.runtime == runtime.name
        np.testing.assert_allclose(tested.outputs["probabilities"], old.probabilities[:3], rtol=1e-6)

        client.publish(old.file, "again", requirements={"packages": OLD})
        client.deploy("again@1", name="again")
        assert {r.name for r in client.runtimes.list()} - {"host", "legacy"} == {runtime.name}
        assert client.deployments.history("again")[0].spec.runtime == runtime.name
        with pytest.raises(modelyard.Conflict, match="old"):
            client.runtimes.delete(runtime.name)
        for name in ("ours", "old", "again"):
            client.undeploy(name)


def test_a_defined_runtime_is_really_where_the_code_runs_and_a_mismatch_is_named(
    platform: Running, tmp_path: Path
) -> None:
    from sklearn.frozen import FrozenEstimator

    (tmp_path / "model.py").write_text(WHERE)
    x, y = load_iris(return_X_y=True)
    with platform.client() as client:
        client.runtimes.apply("legacy", RuntimeSpec(packages=OLD))
        until(lambda: client.runtimes.get("legacy").status.state == "ready", "it is built", seconds=120)
        client.publish(tmp_path / "model.py", "where")
        service = client.deploy("where@1", name="where", runtime="legacy")
        (row,) = service.predict([{"x": 1.0}])
        assert row["version"] == "1.5.2"
        assert str(platform.home / "environments") in row["prefix"]
        assert sys.prefix not in row["path"]
        assert client.test("where@1", [{"x": 1.0}], runtime="legacy").outputs["version"] == ["1.5.2"]
        client.undeploy("where")

        frozen = FrozenEstimator(LogisticRegression(max_iter=500).fit(x, y))
        client.publish(frozen, "frozen", x_test=x)
        view = client.deployments.apply("frozen", DeploymentSpec(model="frozen@1", runtime="legacy"))
        assert "scikit-learn" in " ".join(view.status.warnings)
        with pytest.raises(modelyard.Refused, match="VersionMismatch"):
            client.deployments.wait("frozen")
        said = command(platform, "explain", "frozen").out
        assert f"scikit-learn {models.version('scikit-learn')}" in said
        assert "1.5.2" in said
        assert "--runtime auto" in said
        client.undeploy("frozen")


def test_offline_a_build_names_what_is_missing_and_the_runtimes_that_would_do(
    tmp_path: Path, old: Old, cache: str
) -> None:
    platform = Running(tmp_path / "home", variables={"UV_CACHE_DIR": cache}).start()
    try:
        with platform.client() as client:
            client.runtimes.apply("legacy", RuntimeSpec(packages=OLD))
            until(lambda: client.runtimes.get("legacy").status.state == "ready", "it is built", seconds=120)
        assert platform.interrupt() == 0
        platform.flags, platform.variables = ("--offline",), {"UV_CACHE_DIR": str(tmp_path / "empty")}
        platform.start()
        with platform.client() as client:
            version = client.publish(old.file, "old", requirements={"packages": (*OLD, "joblib")})
            assert version.validation == "passed", "a runtime that would do is there to load it in"
            client.deploy("old@1", name="old", wait=False)
            until(lambda: client.deployments.get("old").state is State.FAILED, "it fails", seconds=60)
            said = command(platform, "explain", "old").out
            assert "IndexUnreachable" in said
            assert "offline" in said
            assert "built already, and good for it: legacy" in said
            with pytest.raises(modelyard.Refused, match="good for it: legacy"):
                client.test("old@1", [[5.1, 3.5, 1.4, 0.2]])
            service = client.deploy("old@1", name="old", runtime="legacy")
            x, _ = load_iris(return_X_y=True)
            answer = service.predict(x[::10].tolist())
            np.testing.assert_allclose(answer["probabilities"], old.probabilities, rtol=1e-6)
    finally:
        platform.stop()
