"""What reaches a model and what does not, and which verbs leave its processes alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import modelyard
from modelyard import Client
from modelyard.domain.views import State
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running

SECRET = "a secret of the platform"
TALKER = """
import json
import os


def predict(inputs):
    config = os.path.join(os.environ["MODELYARD_CONFIG_DIR"], "limits.json")
    with open(config) as file:
        limits = json.load(file)
    return {"env": [json.dumps(dict(os.environ))], "limit": [limits["limit"]]}
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("resources") / "home"
    variables = {"AWS_SECRET_ACCESS_KEY": SECRET, "PGPASSWORD": SECRET, "MODELYARD_LIMITS__UPLOAD": "1Gi"}
    running = Running(home, variables=variables).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(platform: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    code = tmp_path_factory.mktemp("talker") / "model.py"
    code.write_text(TALKER)
    with platform.client() as client:
        client.publish(str(code), "talker")
        yield client


def test_a_model_finds_its_identity_its_files_and_its_own_variables_and_no_secret_of_the_platform(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text('{"limit": 7}')
    command(
        platform, "deploy", "talker@1", "--name", "talker", "--cpu", "0.5", "--memory", "512Mi",
        "--env", "COLOUR=blue=green", "--env", "MODELYARD_SERVICE=somebody-else",
        "--config-file", f"limits.json={limits}", code=2,
    )  # fmt: skip
    command(
        platform, "deploy", "talker@1", "--name", "talker", "--cpu", "0.5", "--memory", "512Mi",
        "--env", "COLOUR=blue=green", "--config-file", f"limits.json={limits}",
    )  # fmt: skip
    (row,) = client.predict("talker", [{"x": 1.0}])
    assert row["limit"] == 7
    env = json.loads(row["env"])
    assert env["COLOUR"] == "blue=green"
    replica = client.deployments.get("talker").status.replicas[0].name
    expected = {
        "MODELYARD_PROJECT": "default",
        "MODELYARD_SERVICE": "talker",
        "MODELYARD_STAGE": "production",
        "MODELYARD_MODEL": "talker",
        "MODELYARD_MODEL_VERSION": "1",
        "MODELYARD_REVISION": "1",
        "MODELYARD_REPLICA": replica,
        "KUBEFLOW_ENV": "production",
        "KUBEFLOW_MODEL_NAME": "talker",
        "KUBEFLOW_MODEL_VERSION": "1",
        "K8S_POD_NAME": replica,
        "RESOURCE_CPU": "0.5",
        "RESOURCE_MEMORY": "512Mi",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert {name: env.get(name) for name in expected} == expected
    assert env["KUBEFLOW_MODEL_PATH"] == env["MODELYARD_MODEL_PATH"]
    ours = {"MODELYARD_HOME", "MODELYARD_LIMITS__UPLOAD", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"}
    assert not ours & env.keys()
    secrets = [SECRET, (platform.home / "master-key").read_text().strip(), client.connection.token]
    assert not [name for name, value in env.items() if any(secret in value for secret in secrets)]
    client.undeploy("talker")


def test_no_process_of_the_platform_shows_a_secret_in_its_arguments(
    platform: Running, client: Client
) -> None:
    service = client.deploy("talker@1", name="quiet")
    secrets = [
        SECRET,
        (platform.home / "master-key").read_text().strip(),
        client.connection.token,
        service.token,
    ]
    words = [" ".join(each.cmdline()) for each in platform.processes()]
    assert len(words) >= 3
    assert not [line for line in words if any(secret in line for secret in secrets)]
    client.undeploy("quiet")


def test_scaling_keeps_every_process_and_restarting_replaces_every_one(
    platform: Running, client: Client
) -> None:
    client.deploy("talker@1", name="elastic")
    one = processes(client, "elastic")
    client.deployments.scale("elastic", 3)
    view = client.deployments.wait("elastic")
    three = processes(client, "elastic")
    assert one < three
    assert len(three) == 6
    until(lambda: client.models.version("talker@1").memory.loaded_bytes, "its memory is on record")
    memory = client.models.version("talker@1").memory
    assert (
        "at most, measured in a worker of the original" in command(platform, "model", "show", "talker@1").out
    )
    assert 5 << 20 < memory.loaded_bytes <= memory.peak_bytes < 1 << 30
    assert view.revision == 1
    client.deployments.scale("elastic", 1)
    assert client.deployments.wait("elastic").status.ready_replicas == 1
    left = until(lambda: fewer(processes(client, "elastic"), 2), "the others are gone")
    assert left < three
    client.deployments.restart("elastic")
    view = client.deployments.wait("elastic")
    assert view.revision == 2
    assert not until(lambda: fewer(processes(client, "elastic"), 2), "the old one is gone") & left
    assert [r.reason for r in client.deployments.history("elastic")] == ["restart", "deploy"]
    client.deployments.scale("elastic", 0)
    assert client.deployments.wait("elastic").state is State.OFFLINE
    assert processes(client, "elastic") == set()
    client.undeploy("elastic")


def test_a_copy_and_a_service_of_a_version_are_offline_until_they_are_scaled(
    platform: Running, client: Client
) -> None:
    client.deploy("talker@1", name="origin", env={"A": "b"}, config_files={"limits.json": '{"limit": 1}'})
    command(platform, "deployment", "copy", "origin", "twin")
    view = client.deployments.get("twin")
    assert (view.state, view.spec.replicas, view.spec.env) == (State.OFFLINE, 0, {"A": "b"})
    with pytest.raises(modelyard.Conflict):
        client.deployments.copy("origin", "twin")
    assert "offline" in command(platform, "explain", "twin").out
    command(platform, "scale", "twin", "--replicas", "1")
    assert client.predict("twin", [{"x": 1.0}])[0]["limit"] == 1
    assert client.deployments.token("twin") != client.deployments.token("origin")
    with pytest.raises(modelyard.Conflict, match="origin"):
        client.models.delete("talker")
    for name in ("origin", "twin"):
        client.undeploy(name)


def test_history_tells_who_changed_what_and_any_revision_comes_back(
    platform: Running, client: Client
) -> None:
    for value in ("1", "2", "3"):
        client.deploy("talker@1", name="past", config_files={"limits.json": f'{{"limit": {value}}}'})
    command(platform, "rollback", "past", "--revision", "1")
    assert client.predict("past", [{"x": 1.0}])[0]["limit"] == 1
    history = client.deployments.history("past")
    assert [(r.number, r.created_by) for r in history] == [(n, "admin") for n in (4, 3, 2, 1)]
    assert "1" in history[0].reason
    said = command(platform, "history", "past").out
    assert "rollback to 1" in said
    client.undeploy("past")


def fewer(found: set[int], count: int) -> set[int] | None:
    return found if len(found) <= count else None


def processes(client: Client, name: str) -> set[int]:
    """Fronts and workers of a service."""
    fronts = [r.pid for r in client.deployments.get(name).status.replicas]
    found = set()
    for front in fronts:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {front, *(child.pid for child in psutil.Process(front).children())}
    return found
