"""Versions whose files stay on a volume: what is recorded, what needs them, what a place cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.artifacts import LocalArtifacts
from modelyard.backends.base import Answer, Task, TaskKind
from modelyard.backends.memory import ManualClock
from modelyard.control import applying, downloads, publishing, trials
from modelyard.control import validation as validating
from modelyard.control.controller import prepare
from modelyard.control.line import Asked, NoTurn
from modelyard.control.publishing import Part
from modelyard.domain.deployment import DeploymentSpec, Failure
from modelyard.domain.errors import Conflict, Invalid, Refused, TimedOut, Unavailable
from modelyard.domain.model import Format, ModelVersion, PublishSpec, Validation
from modelyard.domain.model_files import InClaim, InImage
from modelyard.domain.naming import ModelRef
from modelyard.domain.queue import Room, State
from modelyard.formats import survey
from tests.control.test_publishing import FOUND
from tests.control.world import ADMIN, CHURN, World, build
from tests.support.inline import InlineDatabase

CODE = "class Model:\n    def predict(self, inputs):\n        return inputs\n"
SOURCE = "pvc://models/churn/3"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "model.py").write_text(CODE)
    return folder


@pytest.fixture
def asked() -> list[Task]:
    """Every task so far."""
    return []


@pytest.fixture
async def world(tmp_path: Path, volume: Path, asked: list[Task], monkeypatch: pytest.MonkeyPatch) -> World:
    """A platform whose backend mounts volumes; one of them is there."""
    made = build(InlineDatabase(), now=ManualClock())

    def answer(task: Task) -> Answer:
        asked.append(task)
        told = survey.answered(volume, task.request) if task.kind == TaskKind.SURVEY else {"result": FOUND}
        failure = told.get("failure")
        return Answer(result=told.get("result"), failure=Failure(**failure) if failure else None)

    made.backend.answer = answer
    monkeypatch.setattr(made.backend, "refuses_model_files", lambda wanted: "")
    await prepare(made.platform)
    return replace(made, platform=replace(made.platform, artifacts=LocalArtifacts(tmp_path / "artifacts")))


async def nothing() -> AsyncIterator[Part]:
    for part in ():
        yield part


async def publish(world: World, source: str = SOURCE, **fields: Any) -> ModelVersion:
    spec = PublishSpec(**{"name": "churn", "source": source, **fields})
    return (await publishing.publish(world.platform, ADMIN, "default", spec, nothing())).version


async def test_the_version_has_the_digests_and_the_platform_has_no_file(
    world: World, asked: list[Task]
) -> None:
    version = await publish(world, sample=[{"a": 1, "b": 2.5}])
    (artifact,) = version.artifacts
    assert (version.source, version.size, version.validation) == (SOURCE, len(CODE), Validation.PASSED)
    assert version.location == InClaim("models", "churn/3")
    assert (artifact.format, [file.path for file in artifact.files]) == (Format.PYTHON, ["model.py"])
    assert artifact.signature.sample == {"input": [[1, 2.5]]}
    assert await world.platform.artifacts.contents() == frozenset()
    kinds = [(task.kind, task.guest.location) for task in asked]
    assert kinds == [("survey", version.location), ("inspect", version.location)]


async def test_an_image_is_a_volume_too(world: World) -> None:
    source = f"oci://registry.example/churn@sha256:{'7' * 64}#models"
    version = await publish(world, source)
    assert version.location == InImage(f"registry.example/churn@sha256:{'7' * 64}", "models")


async def test_what_needs_the_files_themselves_says_where_they_are(world: World) -> None:
    await publish(world)
    with pytest.raises(
        Refused, match=r"churn@1 was published from pvc://models/churn/3, and its files are there"
    ):
        await downloads.artifact(world.platform, ADMIN, "default", ModelRef("churn", "1"))


async def test_validating_again_looks_at_the_volume_again(world: World, volume: Path) -> None:
    (volume / "weights.bin").write_bytes(b"1")
    await publish(world)
    await validating.validate(world.platform, ADMIN, "default", ModelRef("churn", "1"))
    (volume / "notes.txt").write_text("what lies beside is nobody's business")
    await validating.validate(world.platform, ADMIN, "default", ModelRef("churn", "1"))
    (volume / "model.py").write_text(CODE.replace("inputs", "things"))
    with pytest.raises(Refused, match=r"ArtifactCorrupt: `model.py` at pvc://models/churn/3 has sha256"):
        await validating.validate(world.platform, ADMIN, "default", ModelRef("churn", "1"))
    (volume / "model.py").write_text(CODE)
    (volume / "weights.bin").unlink()
    with pytest.raises(
        Refused, match=r"ArtifactCorrupt: `weights.bin` is not at pvc://models/churn/3 any more"
    ):
        await validating.validate(world.platform, ADMIN, "default", ModelRef("churn", "1"))


@pytest.mark.parametrize(
    ("source", "fields", "message"),
    [
        ("pvc://", {}, r"source: '' is no name of a PersistentVolumeClaim; write `pvc://CLAIM/FOLDER`"),
        ("pvc://models/../secrets", {}, r"source: folder '../secrets' must be a plain relative path"),
        ("oci://registry.example/churn:3", {}, r"source: .* is no image with its registry and its digest"),
        (SOURCE, {"artifacts": {"a": "a"}}, r"artifacts: one model is published from a volume"),
        (SOURCE, {"pipeline": {"steps": []}}, r"pipeline: one model is published from a volume"),
        (SOURCE, {"format": Format.ONNX}, r"onnx"),
    ],
)
async def test_what_is_no_such_version_is_refused(
    world: World, source: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises((Invalid, Refused), match=message):
        await publish(world, source, **fields)


async def test_files_beside_an_address_are_refused(world: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    async def parts() -> AsyncIterator[Part]:
        yield Part("model.py", chunks())

    spec = PublishSpec(name="churn", source=SOURCE)
    with pytest.raises(Invalid, match=r"file: `model.py` was sent beside `source`"):
        await publishing.publish(world.platform, ADMIN, "default", spec, parts())


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (Answer(result=None, failure=Failure(reason="MountFailed", message="none")), Refused, "MountFailed"),
        (Answer(result=None, failure=Failure(reason="WorkerHung", message="late")), TimedOut, "WorkerHung"),
        (Answer(result={"files": 3}), Refused, "not understood"),
        (Answer(result=None), Refused, "the guest gave no answer"),
    ],
)  # fmt: skip
async def test_a_pod_that_fails_is_said_and_nothing_is_recorded(
    world: World, answer: Answer, kind: type[Exception], message: str
) -> None:
    world.backend.answer = lambda task: answer
    with pytest.raises(kind, match=message):
        await publish(world)


async def test_a_path_that_leads_elsewhere_is_not_believed(world: World, volume: Path) -> None:
    told = survey.survey(volume, {"format": "", "trust": "full"})
    told["files"][0]["path"] = "../../etc/passwd"
    world.backend.answer = lambda task: Answer(result=told)
    with pytest.raises(Invalid, match=r"source: `../../etc/passwd` leaves its directory"):
        await publish(world)


async def test_one_machine_refuses_with_the_remedy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    version = await publish(world)
    monkeypatch.undo()
    with pytest.raises(Invalid, match=r"source: .* runs on one machine; publish the directory"):
        await publish(world)
    with pytest.raises(Invalid, match=r"spec.model: churn@1 was published from a volume: .* one machine"):
        await applying.apply(world.platform, ADMIN, CHURN, DeploymentSpec(model=version.ref))
    request = trials.TestRequest(inputs={"input": [[1.0, 2.0]]})
    with pytest.raises(Refused, match=r"published from a volume: .* runs on one machine"):
        await trials.test(world.platform, ADMIN, "default", ModelRef("churn", "1"), request)


async def test_a_survey_waits_its_turn_and_what_did_not_begin_is_no_fault_of_the_model(
    world: World, asked: list[Task]
) -> None:
    full = replace(world, platform=replace(world.platform, task_places=1, queue_seconds=0.2))
    taken = Asked(
        project="default", subject="other@1", kind="test", since=full.platform.at(), patience_seconds=1.0
    )

    async def room(cards: bool) -> Room:
        return Room(places=1)

    async with full.platform.line.place(taken, room):
        publishing_it = asyncio.ensure_future(publish(full))
        await asyncio.sleep(0.05)
        (waits,) = (each for each in full.platform.line.seen() if each.state is State.WAITING)
        assert (waits.project, waits.subject, waits.kind) == ("default", SOURCE, "survey")
        with pytest.raises(NoTurn, match=r"waited 0\.2 s at position 1 of the queue"):
            await publishing_it
    assert asked == []
    assert (await publish(full)).validation is Validation.PASSED


def test_what_another_queue_did_not_let_begin_is_to_be_asked_again() -> None:
    answer = Answer(result=None, failure=Failure(reason="Queued", message="waited 7 s: no quota"))
    error = trials.failed(answer, {"model": "churn@1", "project": "default", "runtime": ""})
    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds == 10.0


async def test_files_elsewhere_are_other_files_to_a_deployment_that_mounts_them(world: World) -> None:
    await publish(world, source_run="run-1")
    await applying.apply(world.platform, ADMIN, CHURN, DeploymentSpec(model="churn@1", replicas=0))
    with pytest.raises(Conflict, match="deployment churn"):
        await publish(world, source="pvc://others/churn", source_run="run-1")
    assert (await publish(world, source_run="run-1", description="still mine")).description == "still mine"
