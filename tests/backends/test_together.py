"""The backend with the real front and the real guest's host: what it writes is what the other side reads."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import httpx2
import pytest

from modelyard.backends.base import Guest, Task, TaskKind
from modelyard.backends.local import LocalBackend
from modelyard.domain.deployment import Phase
from modelyard.domain.model import Artifact, Datatype, File, Format, Serialization, Signature, TensorSpec
from tests.backends import things
from tests.backends.things import KEY

MODEL = """
class Model:
    def predict(self, inputs):
        print("predicting")
        return {"double": inputs["x"] * 2}
"""


@pytest.fixture
def backend(directory: Path) -> LocalBackend:
    return LocalBackend(
        directory=directory / "data",
        socket_directory=directory / "s",
        interpreter=sys.executable,
        clock=time.time,
    )


@pytest.fixture
def doubler(directory: Path) -> Guest:
    """A model written in Python that doubles its input."""
    (directory / "model").mkdir()
    (directory / "model/model.py").write_text(MODEL)
    file = File(path="model.py", size=len(MODEL), sha256=hashlib.sha256(MODEL.encode()).hexdigest())
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1,)),),
        outputs=(TensorSpec(name="double", datatype=Datatype.FP64, shape=(-1,)),),
        sample={"x": [1.0]},
    )
    artifact = Artifact(
        name="model",
        format=Format.PYTHON,
        serialization=Serialization.PYTHON,
        entry="model.py",
        files=(file,),
        signature=signature,
    )
    return Guest(artifact=artifact, path=directory / "model", interpreter=sys.executable, runtime="host")


async def test_a_real_guest_answers_a_test(backend: LocalBackend, doubler: Guest) -> None:
    asked = Task(kind=TaskKind.TEST, guest=doubler, request={"inputs": {"x": [1.5, 2.0]}}, timeout_seconds=60)
    answer = await backend.run(asked)
    assert answer.failure is None, answer
    assert answer.result is not None
    assert answer.result["outputs"] == {"double": [3.0, 4.0]}
    assert "predicting" in answer.stdout
    assert answer.device


async def test_a_real_guest_is_inspected(backend: LocalBackend, doubler: Guest) -> None:
    answer = await backend.run(Task(kind=TaskKind.INSPECT, guest=doubler, timeout_seconds=60))
    assert answer.failure is None, answer
    assert answer.result is not None
    assert [each["name"] for each in answer.result["signature"]["inputs"]] == ["x"]


async def test_a_file_that_was_changed_is_refused_by_name(backend: LocalBackend, doubler: Guest) -> None:
    (doubler.path / "model.py").write_text(MODEL.replace("* 2", "* 3"))
    answer = await backend.run(Task(kind=TaskKind.INSPECT, guest=doubler, timeout_seconds=60))
    assert answer.failure is not None
    assert answer.failure.reason == "ArtifactCorrupt"
    assert "model.py" in answer.failure.message
    assert things.carriers(str(doubler.path.parent)) == []


async def test_a_real_front_serves_is_adopted_and_stops(backend: LocalBackend, doubler: Guest) -> None:
    launch = things.launch("a", doubler.path, guest=doubler)
    await backend.start(launch)
    (replica,) = await things.until(lambda: backend.observe(KEY), things.all_in(Phase.READY))
    assert await predict(replica.address) == [3.0]
    assert replica.memory_bytes > 0
    again = LocalBackend(
        directory=doubler.path.parent / "data",
        socket_directory=doubler.path.parent / "s",
        interpreter=sys.executable,
        clock=time.time,
    )
    await again.start(launch)
    (adopted,) = await again.observe(KEY)
    assert (adopted.pid, adopted.phase) == (replica.pid, Phase.READY)
    await again.stop(KEY, "a")
    await things.until(lambda: again.observe(KEY), lambda replicas: not replicas)
    assert things.carriers(str(doubler.path.parent)) == []


async def test_a_real_front_reports_why_a_model_does_not_load(backend: LocalBackend, doubler: Guest) -> None:
    (doubler.path / "model.py").write_text("import module_that_is_nowhere")
    await backend.start(things.launch("a", doubler.path, guest=doubler))
    (replica,) = await things.until(lambda: backend.observe(KEY), things.all_in(Phase.FAILED))
    assert replica.failure is not None
    assert replica.failure.reason == "ArtifactCorrupt"
    await backend.kill(KEY, "a")


async def test_killing_a_real_front_takes_its_worker_along(backend: LocalBackend, doubler: Guest) -> None:
    await backend.start(things.launch("a", doubler.path, guest=doubler))
    await things.until(lambda: backend.observe(KEY), things.all_in(Phase.READY))
    await backend.kill(KEY, "a")
    assert things.carriers(str(doubler.path.parent)) == []


async def predict(address: str) -> object:
    """Ask a replica to double 1.5."""
    transport = httpx2.AsyncHTTPTransport(uds=address.removeprefix("unix:"))
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1.5]}]}
    async with httpx2.AsyncClient(transport=transport, base_url="http://replica") as client:
        answer = await client.post("/v2/models/churn/infer", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]
