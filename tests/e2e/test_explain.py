"""Everything that can be wrong with a service is named by `explain`, with what to do about it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import modelyard
from modelyard import Client
from modelyard.domain.explain import Explanation
from modelyard.domain.views import DeploymentView, State
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running

MOODY = '''
import os
import socket
import time


class Model:
    """Sound, unless its deployment's environment says otherwise."""

    def load(self):
        mood = os.environ.get("MOOD", "")
        print("loading in the mood", mood, flush=True)
        if mood == "raise":
            raise ValueError("these weights are of another planet")
        if mood == "import":
            import a_package_that_nobody_has
        if mood == "port":
            self.socket = socket.socket()
            self.socket.bind(("127.0.0.1", int(os.environ["PORT"])))
        if mood == "hoard":
            self.hoard = [bytearray(os.urandom(1 << 20)) for _ in range(2000)]
        if mood == "hang":
            time.sleep(3600)
        if mood == "segfault":
            os.kill(os.getpid(), 11)

    def predict(self, inputs):
        if os.environ.get("MOOD") == "hungry" and inputs["x"].max() > 1:
            self.hoard = [bytearray(os.urandom(1 << 20)) for _ in range(2000)]
        return {"y": inputs["x"] * 2}
'''


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("explain") / "home"
    running = Running(home, settings='[node]\nmemory = "4Gi"\ncpu = "4"\ngpus = 0\n').start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(platform: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    code = tmp_path_factory.mktemp("moody") / "model.py"
    code.write_text(MOODY)
    with platform.client() as client:
        client.publish(str(code), "moody", sample={"x": [1.0]})
        yield client


@dataclass(frozen=True)
class Case:
    """A mood of the model, and what must be said of it."""

    name: str
    env: dict[str, str]
    reason: str
    cause: str
    remedy: str
    memory: str = "0"


CASES = (
    Case(
        "bad-code",
        {"MOOD": "raise"},
        "UserCodeFailed",
        "model.py line 14 in load: ValueError: these weights are of another planet",
        "Mend the code",
    ),
    Case("no-package", {"MOOD": "import"}, "MissingPackage", "a_package_that_nobody_has", "requirements"),
    Case(
        "hoarder",
        {"MOOD": "hoard"},
        "OutOfMemory",
        "of the 300 MiB it may have",
        "Deploy with more `--memory` (now 300Mi)",
        memory="300Mi",
    ),
    Case("crasher", {"MOOD": "segfault"}, "WorkerCrashed", "SIGSEGV", "modelyard logs crasher"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_model_that_does_not_load_is_named_with_cause_and_remedy(
    platform: Running, client: Client, case: Case
) -> None:
    with pytest.raises(modelyard.Refused, match=case.reason) as refused:
        client.deploy("moody@1", name=case.name, env=case.env, memory=case.memory)
    assert case.cause in str(refused.value)
    assert client.deployments.get(case.name).state is State.FAILED
    said = command(platform, "explain", case.name).out
    assert case.reason in said
    assert case.cause in said
    assert case.remedy in said
    client.undeploy(case.name)


def test_a_model_that_hangs_while_it_loads_is_ended_after_its_start_timeout(
    platform: Running, client: Client
) -> None:
    client.deploy("moody@1", name="sleeper", env={"MOOD": "hang"}, start_timeout_seconds=3, wait=False)
    found = until(lambda: reasons(client, "sleeper") & {"LoadTimeout"}, "the timeout is named", seconds=60)
    assert found
    said = command(platform, "explain", "sleeper").out
    assert "not loaded within 3 s" in said
    assert "raise `start_timeout_seconds`" in said
    client.undeploy("sleeper")


def test_a_port_that_a_model_wants_and_another_program_has_is_named_and_freed_it_starts(
    platform: Running, client: Client
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        env = {"MOOD": "port", "PORT": str(port)}
        client.deploy("moody@1", name="listener", env=env, wait=False)
        until(lambda: reasons(client, "listener") & {"PortInUse"}, "the port is named")
        said = command(platform, "explain", "listener").out
        assert "Address already in use" in said
        assert "another program has that port" in said
        assert "End the other program" in said
    view = until(lambda: running(client, "listener"), "it starts by itself", seconds=60)
    assert view.status.ready_replicas == 1
    client.undeploy("listener")


def test_a_prediction_that_needs_too_much_memory_ends_only_itself_and_is_named(
    platform: Running, client: Client
) -> None:
    service = client.deploy("moody@1", name="eater", env={"MOOD": "hungry"}, memory="300Mi")
    assert service.predict({"x": np.array([1.0])})["y"].tolist() == [2.0]
    with pytest.raises(modelyard.Unavailable, match="300 MiB"):
        service.predict({"x": np.array([5.0])})
    until(lambda: running(client, "eater"), "it is back")
    assert service.predict({"x": np.array([1.0])})["y"].tolist() == [2.0]
    until(lambda: reasons(client, "eater") & {"OutOfMemory"}, "it is remembered")
    said = command(platform, "explain", "eater").out
    assert "eater is healthy" in said
    assert "OutOfMemory: a short while ago, and started again since: the model's process used" in said
    assert "Deploy with more `--memory` (now 300Mi)" in said
    client.undeploy("eater")


def test_what_asks_for_more_than_there_is_waits_and_starts_when_room_is_made(
    platform: Running, client: Client
) -> None:
    client.deploy("moody@1", name="large", memory="3Gi")
    client.deploy("moody@1", name="waiting", memory="2Gi", wait=False)
    until(lambda: "insufficient" in client.deployments.get("waiting").message, "it says what it waits for")
    view = client.deployments.get("waiting")
    assert view.state is State.PENDING
    assert view.message == "insufficient memory: needs 2Gi, free 1Gi"
    said = command(platform, "explain", "waiting").out
    assert "insufficient memory: needs 2Gi, free 1Gi" in said
    assert "undeploy another service" in said
    client.undeploy("large")
    until(lambda: running(client, "waiting"), "it starts")
    client.undeploy("waiting")


def test_a_gpu_that_the_machine_does_not_have_is_named(platform: Running, client: Client) -> None:
    client.deploy("moody@1", name="gpu", gpu=1, wait=False)
    until(lambda: "insufficient" in client.deployments.get("gpu").message, "it says what it waits for")
    assert state(client, "gpu") is State.PENDING
    said = command(platform, "explain", "gpu").out
    assert "insufficient nvidia.com/gpu: needs 1, free 0" in said
    assert "--gpu" in said
    client.undeploy("gpu")


def test_a_broken_version_never_replaces_the_one_that_serves(platform: Running, client: Client) -> None:
    service = client.deploy("moody@1", name="steady")
    before = client.deployments.get("steady").status.replicas
    with pytest.raises(modelyard.Refused, match="revision 1 serves instead"):
        client.deploy("moody@1", name="steady", env={"MOOD": "raise"})
    assert service.predict({"x": np.array([4.0])})["y"].tolist() == [8.0]
    view = client.deployments.get("steady")
    assert view.state is State.DEGRADED
    assert [r.pid for r in view.status.replicas if r.revision == 1] == [r.pid for r in before]
    said = {c.type: c for c in view.status.conditions}["Progressing"]
    assert (said.ok, said.reason) == (False, "RolledBack")
    assert "another planet" in said.message
    text = command(platform, "explain", "steady").out
    assert "revision 2 failed, revision 1 serves instead" in text
    assert "RolledBackByItself" in command(platform, "deployment", "events", "steady").out
    client.deploy("moody@1", name="steady", env={"MOOD": ""})
    assert client.deployments.explain("steady").healthy
    client.undeploy("steady")


def test_a_file_that_changed_on_disk_is_never_loaded(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    code = tmp_path / "model.py"
    code.write_text(f"# A file of its own, as equal ones are stored once.\n{MOODY}")
    version = client.publish(str(code), "rotten", sample={"x": [1.0]})
    published = version.artifacts[0].files[0].sha256
    for stored in copies(platform.home / "artifacts", code.read_bytes()):
        mode = stored.stat().st_mode
        stored.chmod(0o600)
        content = bytearray(stored.read_bytes())
        content[-2] ^= 1
        stored.write_bytes(content)
        stored.chmod(mode)
    with pytest.raises(modelyard.Refused, match="ArtifactCorrupt"):
        client.deploy("rotten@1", name="rotten")
    said = command(platform, "explain", "rotten").out
    assert "model.py" in said
    assert published in said
    assert len({word.strip(",;:()") for word in said.split() if len(word.strip(",;:()")) == 64}) == 2
    assert "publish the model again" in said
    client.undeploy("rotten")


def reasons(client: Client, name: str) -> set[str]:
    found: Explanation = client.deployments.explain(name)
    return {each.reason for each in found.findings}


def state(client: Client, name: str) -> State:
    return client.deployments.get(name).state


def running(client: Client, name: str) -> DeploymentView | None:
    view = client.deployments.get(name)
    return view if view.state is State.RUNNING else None


def copies(directory: Path, content: bytes) -> list[Path]:
    """Every file with exactly this content; hard links are changed once."""
    found = {p.stat().st_ino: p for p in directory.rglob("*") if p.is_file() and p.read_bytes() == content}
    assert found
    return list(found.values())
