"""A pipeline fitted with Spark is published as the object it is, and answers from a runtime of its own."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uv

from modelyard import Client
from modelyard.domain.errors import Invalid, Refused
from tests.support import spark
from tests.support.command import modelyard as command
from tests.support.platform import Running

SLOW = 420.0
"""Seconds in which a runtime is built and Spark starts on a busy machine."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    cache = subprocess.run([uv.find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True)
    home = tmp_path_factory.mktemp("spark") / "home"
    running = Running(home, variables={"UV_CACHE_DIR": cache.stdout.strip()}).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(platform: Running) -> Iterator[Client]:
    with platform.client() as client:
        yield client


@pytest.fixture(scope="module")
def trained(platform: Running, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    token = (platform.home / "admin-token").read_text().strip()
    directory = tmp_path_factory.mktemp("trained")
    return {**spark.train(directory, url=platform.url, token=token), "directory": directory}


@pytest.mark.timeout(1200)
def test_a_fitted_pipeline_is_published_tested_deployed_and_answers_as_spark_does(
    platform: Running, client: Client, trained: dict[str, Any]
) -> None:
    assert trained["inputs"] == {"age": "FP64", "income": "FP64", "city": "BYTES"}
    assert any(each.startswith("pyspark==") for each in trained["requirements"])
    rows = trained["rows"]
    tested = client.test(trained["ref"], rows, timeout_seconds=SLOW)
    assert tested.runtime.startswith("auto-spark-")
    assert tested.outputs["decision"] == trained["decision"]
    np.testing.assert_allclose(tested.outputs["probability"], trained["probability"], rtol=1e-9)

    service = client.deploy(trained["ref"], name="buyers", timeout_seconds=SLOW)
    answer = service.predict_json(rows)
    assert [each["decision"] for each in answer] == trained["decision"]
    np.testing.assert_allclose([each["probability"] for each in answer], trained["probability"], rtol=1e-9)

    with pytest.raises(Invalid, match=r"inputs\.city\[1\].*Paris"):
        service.predict_json([rows[0], {**rows[0], "city": "Paris"}])
    with pytest.raises(Invalid, match=r"inputs\.age\[0\].*missing value"):
        service.predict_json([{**rows[0], "age": None}])
    with pytest.raises(Invalid, match="age"):
        service.predict_json([{**rows[0], "age": "old"}])
    with pytest.raises(Invalid, match='missing column "city"'):
        service.predict_json([{"age": 1.0, "income": 1.0, "town": "Delft"}])
    assert "java" not in {each.name() for each in platform.processes()}
    client.undeploy("buyers")


@pytest.mark.timeout(1200)
def test_a_single_model_in_an_archive_takes_vectors(
    platform: Running, client: Client, trained: dict[str, Any], tmp_path: Path
) -> None:
    assert "metadata/_SUCCESS" in trained["files"]
    assert "is not fitted" in trained["unfitted"]
    archive = tmp_path / "tree.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(trained["directory"] / "tree/pipeline", arcname="tree")
    said = command(platform, "publish", str(archive), "--name", "tree", "-o", "json")
    (artifact,) = json.loads(said.out)["artifacts"]
    assert (artifact["algorithm"], artifact["function"]) == (
        "PipelineModel (DecisionTreeRegressionModel)",
        "regression",
    )
    tested = client.test("tree@1", trained["vectors"], timeout_seconds=SLOW)
    assert tested.outputs["prediction"] == trained["prediction"]


@pytest.mark.timeout(1200)
def test_a_pipeline_that_was_cut_short_is_refused(client: Client, trained: dict[str, Any]) -> None:
    directory = trained["directory"] / "tree"
    data = next(directory.rglob("data/*.parquet"))
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(Refused, match="damaged or cut short"):
            client.publish(directory, "cut")
    finally:
        data.write_bytes(whole)
