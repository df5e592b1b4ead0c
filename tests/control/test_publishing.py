from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.base import Answer, Task, TaskKind
from modelyard.backends.memory import ManualClock
from modelyard.control import (
    applying,
    downloads,
    models,
    projects,
    samples,
    trials,
    versions,
)
from modelyard.control.reconcilers import retention
from modelyard.domain.deployment import DeploymentSpec, Failure
from modelyard.domain.errors import Conflict, Invalid, NotFound, Refused, TimedOut, Unavailable
from modelyard.domain.footprint import Footprint
from modelyard.domain.model import (
    Datatype,
    Format,
    Function,
    Requirements,
    Signature,
    TensorSpec,
    Validation,
)
from modelyard.domain.naming import ModelRef
from modelyard.domain.node import Gpu, Node, NodeClass
from modelyard.domain.project import ProjectSpec, Trust
from modelyard.domain.runtime import RuntimeState
from modelyard.store import runtimes as runtime_store
from modelyard.store import versions as version_store
from tests.control.published import CODE, FOUND, empty, publish
from tests.control.world import ADMIN, CHURN, World

OTHER_CODE = CODE + b"# changed\n"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> World:
    return await empty(tmp_path, clock)


async def test_a_file_becomes_a_version_with_what_its_own_library_says(world: World) -> None:
    tasks: list[Task] = []
    world.backend.answer = lambda task: tasks.append(task) or Answer(result=FOUND)
    published = await publish(
        world, metrics={"auc": 0.9}, description="first", label="v1.0", sample=[{"a": 1, "b": 2.5}]
    )
    version = published.version
    [artifact] = version.artifacts
    assert (published.created, version.version, version.label, version.size) == (True, "1", "v1.0", len(CODE))
    assert (artifact.format, artifact.function) == (Format.PYTHON, Function.CLASSIFICATION)
    assert artifact.signature.inputs[0].shape == (-1, 2)
    assert artifact.signature.sample == {"input": [[1, 2.5]]}
    assert version.validation is Validation.PASSED
    assert [task.kind for task in tasks] == [TaskKind.INSPECT]
    assert (tasks[0].guest.path / "model.py").read_bytes() == CODE


async def test_versions_count_up_and_latest_is_the_newest(world: World) -> None:
    for expected in ("1", "2", "3"):
        assert (await publish(world)).version.version == expected
    await versions.delete(world.platform, ADMIN, "default", "churn", "3")
    assert (await versions.get(world.platform, ADMIN, "default", "churn")).version == "2"
    assert (await publish(world)).version.version == "4"
    listed = await versions.list(world.platform, ADMIN, "default", "churn")
    assert [version.version for version in listed.items] == ["4", "2", "1"]


async def test_published_at_once_every_version_has_a_number_of_its_own(world: World) -> None:
    done = await asyncio.gather(*(publish(world) for _ in range(8)))
    assert sorted(int(each.version.version) for each in done) == list(range(1, 9))


async def test_the_same_run_again_updates_its_version(world: World) -> None:
    first = await publish(world, source_run="run-1", description="one", metrics="auc=0.8", label="a")
    again = await publish(world, source_run="run-1", metrics={"auc": 0.9})
    assert not again.created
    assert again.version.version == first.version.version == "1"
    assert (again.version.metrics, again.version.description, again.version.label) == (
        {"auc": 0.9},
        "one",
        "a",
    )
    assert (await publish(world, source_run="run-2")).version.version == "2"


async def test_the_same_run_may_bring_new_files_until_a_deployment_uses_them(world: World) -> None:
    await publish(world, source_run="run-1")
    replaced = await publish(world, {"model.py": OTHER_CODE}, source_run="run-1")
    assert (replaced.created, replaced.version.version, replaced.version.size) == (
        False,
        "1",
        len(OTHER_CODE),
    )
    await applying.apply(world.platform, ADMIN, CHURN, DeploymentSpec(model="churn@1", replicas=0))
    with pytest.raises(Conflict, match="deployment churn"):
        await publish(world, source_run="run-1")
    same = await publish(world, {"model.py": OTHER_CODE}, source_run="run-1", description="still mine")
    assert same.version.description == "still mine"


async def test_other_files_have_no_memory_of_those_before_them(world: World) -> None:
    first = (await publish(world, source_run="run-1")).version
    seen = Footprint(loaded_bytes=8 << 30, peak_bytes=9 << 30, variant="original")
    async with world.database.begin() as tx:
        await version_store.record(tx, replace(first, memory=seen))
    again = await publish(world, source_run="run-1", description="the same files")
    assert again.version.memory == seen
    assert (await publish(world, {"model.py": OTHER_CODE}, source_run="run-1")).version.memory == Footprint()


async def test_a_label_means_one_version(world: World) -> None:
    await publish(world, label="v2026.11.22.1")
    with pytest.raises(Conflict, match="belongs to churn@1"):
        await publish(world, label="v2026.11.22.1")
    found = await versions.get(world.platform, ADMIN, "default", "churn", "v2026.11.22.1")
    assert found.version == "1"
    assert (await publish(world)).version.version == "2"


async def test_an_alias_moves_and_what_is_deployed_stays(world: World) -> None:
    await publish(world)
    await publish(world)
    await models.set_alias(world.platform, ADMIN, "default", "churn", "champion", "1")
    spec = DeploymentSpec(model="churn@champion", replicas=0)
    applied = await applying.apply(world.platform, ADMIN, CHURN, spec)
    await models.set_alias(world.platform, ADMIN, "default", "churn", "champion", "latest")
    found = await versions.get(world.platform, ADMIN, "default", "churn", "champion")
    assert (applied.view.spec.model, found.version) == ("churn@1", "2")


async def test_a_version_in_use_is_not_deleted(world: World) -> None:
    await publish(world)
    await applying.apply(world.platform, ADMIN, CHURN, DeploymentSpec(model="churn", replicas=0))
    for attempt in (
        versions.delete(world.platform, ADMIN, "default", "churn", "1"),
        models.delete(world.platform, ADMIN, "default", "churn"),
    ):
        with pytest.raises(Conflict, match="used by deployment churn"):
            await attempt


async def test_several_models_in_one_version_are_pulled_one_by_one(world: World) -> None:
    files = {"x/model.py": CODE, "y/model.py": OTHER_CODE}
    version = (await publish(world, files, artifacts={"a": "x", "b": "y"})).version
    assert [artifact.name for artifact in version.artifacts] == ["a", "b"]
    bundle = await downloads.artifact(world.platform, ADMIN, "default", ModelRef("churn"), name="b")
    [file] = bundle.files
    assert b"".join([chunk async for chunk in file.chunks]) == OTHER_CODE
    for name in ("c", ""):
        with pytest.raises(NotFound, match="it has a, b"):
            await downloads.artifact(world.platform, ADMIN, "default", ModelRef("churn"), name=name)
    with pytest.raises(NotFound):
        await applying.apply(world.platform, ADMIN, CHURN, DeploymentSpec(model="churn"))
    spec = DeploymentSpec(model="churn", artifact="b", replicas=0)
    assert (await applying.apply(world.platform, ADMIN, CHURN, spec)).created


@pytest.mark.parametrize("folder", ["../x", "/etc", "nowhere", "x/../../y"])
async def test_an_artifact_outside_the_upload_is_refused(world: World, folder: str) -> None:
    with pytest.raises(Invalid, match="artifacts"):
        await publish(world, {"x/model.py": CODE}, artifacts={"a": folder})


@pytest.mark.parametrize(
    ("files", "fields", "error"),
    [
        ({}, {}, Invalid),
        ({"model.txt": b"hello"}, {}, Refused),
        ({"model.onnx": b"\x08\x07\x12"}, {}, Refused),
        ({"model.pkl": b"cos\nsystem\n(S'true'\ntR."}, {}, Refused),
        ({"model.py": CODE}, {"name": "Not A Name"}, Invalid),
        ({"model.py": CODE}, {"label": "12"}, Invalid),
        ({"model.py": CODE}, {"format": Format.ONNX}, Invalid),
        ({"../model.py": CODE}, {}, Invalid),
    ],
)
async def test_what_is_not_a_model_is_refused_and_leaves_nothing(
    world: World, files: dict[str, bytes], fields: dict[str, Any], error: type[Exception]
) -> None:
    asked: list[Task] = []
    world.backend.answer = lambda task: asked.append(task) or Answer(result=FOUND)
    with pytest.raises(error):
        await publish(world, files, **fields)
    assert not asked
    assert not (await models.list(world.platform, ADMIN, "default")).items


async def test_a_model_that_does_not_load_is_refused_with_the_reason_and_what_it_printed(
    world: World,
) -> None:
    failure = Failure(reason="ModelLoadFailed", message="no module named churnlib")
    world.backend.answer = lambda task: Answer(result=None, failure=failure, stderr="Traceback …")
    with pytest.raises(Refused, match="ModelLoadFailed: no module named churnlib") as refused:
        await publish(world)
    assert ("stderr", "Traceback …") in {(e.path, e.message) for e in refused.value.errors}
    assert not (await models.list(world.platform, ADMIN, "default")).items


async def test_source_code_needs_a_project_that_trusts(world: World) -> None:
    await projects.apply(world.platform, ADMIN, "default", ProjectSpec(trust=Trust.NEVER))
    with pytest.raises(Refused, match="UnsafeContent"):
        await publish(world)


async def test_files_of_deleted_versions_are_swept_and_others_stay(world: World, clock: ManualClock) -> None:
    await publish(world)
    await publish(world, {"model.py": OTHER_CODE})
    await versions.delete(world.platform, ADMIN, "default", "churn", "1")
    clock.advance(10 * 86_400)
    await retention.reconcile(world.platform, "all")
    bundle = await downloads.artifact(world.platform, ADMIN, "default", ModelRef("churn"))
    assert b"".join([chunk async for chunk in bundle.files[0].chunks]) == OTHER_CODE


async def test_a_test_answers_with_outputs_device_and_what_was_printed(world: World) -> None:
    await publish(world, sample=[[1, 2]])
    asked: list[Task] = []
    answer = Answer(
        result={"outputs": {"label": [1]}},
        stdout="hello",
        device="ONNX Runtime device: CPU",
        duration_seconds=0.5,
    )
    world.backend.answer = lambda task: asked.append(task) or answer
    result = await trials.test(world.platform, ADMIN, "default", ModelRef("churn"), trials.TestRequest())
    assert (result.outputs, result.stdout, result.device) == (
        {"label": [1]},
        "hello",
        "ONNX Runtime device: CPU",
    )
    assert asked[0].request == {"inputs": {"input": [[1, 2]]}}
    rows = trials.TestRequest(rows=[{"a": 1, "b": 2}])
    await trials.test(world.platform, ADMIN, "default", ModelRef("churn"), rows)
    assert asked[1].request == {"rows": [{"a": 1, "b": 2}]}


async def test_a_test_gets_a_card_of_its_type_on_a_node_for_tests(world: World) -> None:
    await publish(world, sample=[[1, 2]])
    asked: list[Task] = []
    world.backend.answer = lambda task: asked.append(task) or Answer(result={"outputs": {}})
    cards = (Gpu(index=0, name="Tesla-V100", memory_bytes=1), Gpu(index=1, name="Tesla-T4", memory_bytes=1))
    serves = Node(name="a", classes=(NodeClass.DEPLOY,), cpu_millis=1000, memory_bytes=1, gpus=cards)
    world.backend._nodes = (serves,)
    wanted = trials.TestRequest(gpu="1(T4)")
    with pytest.raises(Unavailable, match="no node of class compute"):
        await trials.test(world.platform, ADMIN, "default", ModelRef("churn"), wanted)
    world.backend._nodes = (serves, replace(serves, name="b", classes=(NodeClass.COMPUTE,)))
    await trials.test(world.platform, ADMIN, "default", ModelRef("churn"), wanted)
    assert (asked[0].gpus, asked[0].wanted.models) == ((1,), ("T4",))
    with pytest.raises(Unavailable, match=r"insufficient nvidia\.com/gpu of type A100"):
        await trials.test(
            world.platform, ADMIN, "default", ModelRef("churn"), trials.TestRequest(gpu="1(A100)")
        )


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (trials.TestRequest(inputs={}, rows=[]), Invalid),
        (trials.TestRequest(rows=[1], timeout_seconds=0), Invalid),
        (trials.TestRequest(rows=[1], timeout_seconds=float("nan")), Invalid),
        (trials.TestRequest(rows=[1], gpu="0.5"), Invalid),
        (trials.TestRequest(rows=[1], gpu="1"), Unavailable),
        (trials.TestRequest(rows=[1], runtime="nope"), NotFound),
        (trials.TestRequest(rows=[1], artifact="nope"), NotFound),
        (trials.TestRequest(), Invalid),
    ],
)
async def test_a_test_that_cannot_be_run_says_why(
    world: World, request_: trials.TestRequest, error: type[Exception]
) -> None:
    await publish(world)
    with pytest.raises(error):
        await trials.test(world.platform, ADMIN, "default", ModelRef("churn"), request_)


async def test_a_test_that_takes_too_long_says_so(world: World) -> None:
    await publish(world, sample=[[1, 2]])
    failure = Failure(reason="WorkerHung", message="no answer within 1 s")
    world.backend.answer = lambda task: Answer(result=None, failure=failure)
    with pytest.raises(TimedOut, match="no answer"):
        await trials.test(world.platform, ADMIN, "default", ModelRef("churn"), trials.TestRequest())


async def test_a_test_in_a_runtime_that_is_not_built_asks_to_come_again(
    world: World, clock: ManualClock
) -> None:
    needs = Requirements(python="3.11", packages=("catboost==1.2.8",))
    await publish(world, requirements=needs, sample=[[1, 2]])
    request = trials.TestRequest(rows=[[1, 2]])
    with pytest.raises(Unavailable, match="being built"):
        await trials.test(world.platform, ADMIN, "default", ModelRef("churn"), request)
    async with world.database.read() as tx:
        [runtime] = (await runtime_store.list(tx, "default")).items
    assert runtime.status.state is RuntimeState.PENDING


TABLE = Signature(
    inputs=(TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, 2), columns=("a", "b")),)
)
COLUMNS = Signature(
    inputs=(
        TensorSpec(name="age", datatype=Datatype.INT64, shape=(-1,)),
        TensorSpec(name="city", datatype=Datatype.BYTES, shape=(-1,)),
    )
)


@pytest.mark.parametrize(
    ("signature", "given", "sample"),
    [
        (TABLE, [[1, 2], [3, 4]], {"input": [[1, 2]]}),
        (TABLE, [1, 2], {"input": [[1, 2]]}),
        (TABLE, [{"b": 2, "a": 1}], {"input": [[1, 2]]}),
        (TABLE, {"a": 1, "b": 2}, {"input": [[1, 2]]}),
        (TABLE, {"input": [[1, 2], [3, 4]]}, {"input": [[1, 2]]}),
        (TABLE, {"columns": ["b", "a"], "data": [[2, 1]]}, {"input": [[1, 2]]}),
        (TABLE, [{"a": 1}], None),
        (TABLE, None, None),
        (COLUMNS, [{"age": 3, "city": "Ulm"}], {"age": [3], "city": ["Ulm"]}),
        (COLUMNS, [[3, "Ulm"]], {"age": [3], "city": ["Ulm"]}),
        (COLUMNS, {"age": [3, 4], "city": ["Ulm", "Bonn"]}, {"age": [3], "city": ["Ulm"]}),
        (COLUMNS, [[3]], None),
        (Signature(), [[3]], None),
    ],
)
def test_example_rows_become_a_sample_of_one(signature: Signature, given: Any, sample: Any) -> None:
    assert samples.sample_of(signature, given) == sample
