"""Networks from a file or an object to an answer through the front door, compared with their frameworks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard import Client, Refused
from tests.formats import networks
from tests.frameworks.models import agrees
from tests.support import frameworks
from tests.support.command import modelyard as command
from tests.support.platform import Running

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def platform(
    torch_python: Path, tensorflow_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A platform that knows the two environments as runtimes."""
    running = Running(tmp_path_factory.mktemp("frameworks") / "home").start()
    try:
        for name, python in (("tensorflow", tensorflow_python), ("torch", torch_python)):
            command(running, "runtime", "create", name, "--interpreter", str(python))
        with running.client() as client:
            until_ready(client, "torch", "tensorflow")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(platform: Running) -> Iterator[Client]:
    with platform.client() as client:
        yield client


def until_ready(client: Client, *names: str) -> None:
    deadline = time.monotonic() + 60
    while any(client.runtimes.get(name).status.state != "ready" for name in names):
        assert time.monotonic() < deadline, [client.runtimes.get(name).status for name in names]
        time.sleep(0.1)


def test_torchscript_is_published_with_a_sample_tested_and_deployed_from_the_command_line(
    platform: Running, client: Client, torch_models: dict[str, Any], tmp_path: Path
) -> None:
    written = torch_models["mlp-script"]
    path = str(Path(written["directory"]) / written["entry"])
    rows = written["inputs"]["points"]
    (tmp_path / "sample.json").write_text(json.dumps({"points": rows}))
    with pytest.raises(Refused, match=r"`--sample sample\.json` that holds"):
        client.publish(path, "script")
    command(platform, "publish", path, "--name", "script", "--sample", str(tmp_path / "sample.json"))
    version = client.models.version("script@1")
    assert version.artifacts[0].signature.sample is not None
    assert version.requirements.packages == ("torch",)
    said = command(platform, "test", "script@1", "-d", json.dumps(written["inputs"]))
    agrees(json.loads(said.out), written["expected"])
    assert "PyTorch device: CPU" in said.err
    command(platform, "deploy", "script@1", "--name", "script", "--timeout", "120s")
    answer = client.service("script").predict_json(written["inputs"])
    agrees(answer, written["expected"])
    client.undeploy("script")


@pytest.mark.parametrize("name", ["cnn-export", "mlp-weights", "keras-dense", "tf-dense"])
def test_a_network_is_published_tested_deployed_and_answers_as_its_framework_does(
    name: str,
    client: Client,
    torch_models: dict[str, Any],
    tensorflow_models: dict[str, Any],
    tmp_path: Path,
) -> None:
    written = {**torch_models, **tensorflow_models}[name]
    source = Path(written["directory"])
    if name == "tf-dense":
        with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
            tar.add(source, arcname="1")
        source = tmp_path / "model.tar.gz"
    version = client.publish(source, name, sample=written["inputs"])
    (artifact,) = version.artifacts
    assert (artifact.format, artifact.serialization) == (written["format"], written["serialization"])
    assert version.validation == "passed", version.warnings
    assert artifact.signature.sample is not None
    tested = client.test(version.ref, written["inputs"])
    agrees(tested.outputs, written["expected"])
    assert tested.device.endswith("device: CPU")
    assert tested.runtime == ("torch" if written["format"] == "torch" else "tensorflow")
    service = client.deploy(version.ref, name=name)
    agrees(
        {key: each.tolist() for key, each in service.predict(written["inputs"]).items()}, written["expected"]
    )
    client.undeploy(name)


@pytest.mark.parametrize(("kind", "environment"), [("torch", "torch"), ("keras", "tensorflow")])
def test_a_network_is_published_from_memory(kind: str, environment: str, platform: Running) -> None:
    packages = frameworks.packages(frameworks.interpreter(environment))
    done = subprocess.run(
        [sys.executable, str(HERE / "publish_objects.py"), kind, platform.url],
        env={
            **platform.environ,
            "PYTHONPATH": str(packages),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PATH": os.defpath,
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    if kind == "torch":
        assert found["serialization"] == "torch-export"
        assert "torch==2.13.0" in found["packages"]
        assert (found["shape"], found["rows"], found["function"]) == ([-1, 1, 8, 8], 1, "classification")
        assert found["device"] == "PyTorch device: CPU"
        assert "give example rows as x_test" in found["refused"]
    else:
        assert found["serialization"] == "keras"
        assert {"keras==3.15.1", "tensorflow-cpu==2.20.0"} <= set(found["packages"])
        assert (found["shape"], found["metrics"]["accuracy"]) == ([-1, 4], 1.0)
        assert found["device"] == "Keras device: CPU"


def test_a_payload_in_a_file_is_refused_before_anything_is_loaded(client: Client, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    call = networks.Call("posix", "system", f"touch {marker}")
    networks.weights(tmp_path / "m/model.pt", {**networks.state(), "more": call})
    with pytest.raises(Refused, match=r"UnsafeContent.*posix\.system"):
        client.publish(tmp_path / "m/model.pt", "payload")
    layer = networks.keras_layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "x"}})
    networks.keras(tmp_path / "k/model.keras", layer)
    with pytest.raises(Refused, match=r"UnsafeContent.*Lambda"):
        client.publish(tmp_path / "k/model.keras", "payload")
    assert not marker.exists()
    assert "payload" not in [each.name for each in client.models.list()]
