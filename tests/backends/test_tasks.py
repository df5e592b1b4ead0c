"""A guest that is asked once answers within its bounds and is wholly gone afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from modelyard.backends.base import Task, TaskKind
from modelyard.backends.local import isolation, places
from modelyard.domain.variant import Optimize
from tests.backends import things
from tests.backends.conftest import LocalWorld


async def test_a_test_carries_its_request_and_says_its_device(world: LocalWorld) -> None:
    asked = things.task(TaskKind.TEST, path=world.path, request={"rows": [[1, 2]]})
    answer = await world.backend.run(asked)
    assert answer.failure is None
    assert answer.result is not None
    assert answer.result["request"] == {"rows": [[1, 2]]}
    assert answer.device == "CPU"
    assert answer.stdout == "a guest speaks\n"
    assert answer.stderr == "a guest complains\n"
    assert 0 < answer.duration_seconds < 60
    assert list((world.directory / "data/tasks").iterdir()) == []


async def test_a_guest_sees_nothing_of_ours(world: LocalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PLATFORM", "hush")
    answer = await world.backend.run(things.task(path=world.path, gpus=(1,)))
    assert answer.result is not None
    env = answer.result["env"]
    assert "hush" not in json.dumps(env)
    assert (env["CUDA_VISIBLE_DEVICES"], env["MODELYARD_MODEL_PATH"]) == ("1", str(world.path))
    assert answer.result["cwd"].startswith(str(world.directory / "data/tasks"))


async def test_a_guest_has_no_network_where_that_can_be_enforced(world: LocalWorld) -> None:
    answer = await world.backend.run(things.task(path=world.path))
    everywhere = await world.restarted(isolate_tasks=False).run(things.task(path=world.path))
    assert answer.result is not None
    assert everywhere.result is not None
    told = world.backend.enforcement()["network of validation and tests"]
    alone = answer.result["interfaces"] == ["lo"]
    assert told == ("no network" if isolation.without_network() else "not enforced")
    assert alone or told == "not enforced"
    assert len(everywhere.result["interfaces"]) >= len(answer.result["interfaces"])


@pytest.mark.parametrize(
    ("entry", "reason", "said"),
    [
        ("fail", "VersionMismatch", "made with 1.2"),
        ("silent", "WorkerCrashed", "exit code 3"),
        ("killed", "WorkerCrashed", "signal 9 (SIGKILL)"),
    ],
)
async def test_every_way_to_fail_is_an_answer(world: LocalWorld, entry: str, reason: str, said: str) -> None:
    answer = await world.backend.run(things.task(path=world.path, entry=entry))
    assert answer.result is None
    assert answer.failure is not None
    assert answer.failure.reason == reason
    assert said in answer.failure.message
    assert "a guest speaks" in answer.stdout


@pytest.mark.parametrize(
    ("kind", "reason"), [(TaskKind.INSPECT, "LoadTimeout"), (TaskKind.TEST, "WorkerHung")]
)
async def test_a_guest_that_hangs_is_ended_in_time(world: LocalWorld, kind: str, reason: str) -> None:
    asked = things.task(kind, path=world.path, entry="hang", timeout_seconds=0.7)
    answer = await world.backend.run(asked)
    assert answer.failure is not None
    assert (answer.failure.reason, "0.7 seconds" in answer.failure.message) == (reason, True)
    assert answer.duration_seconds < 5
    assert things.carriers(str(world.directory)) == []


async def test_a_compiled_variant_is_handed_over_and_links_are_not(world: LocalWorld, tmp_path: Path) -> None:
    asked = things.task(path=world.path, optimize=Optimize.AUTO, out=tmp_path)
    answer = await world.backend.run(asked)
    assert answer.failure is None
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"variant.onnx": "a variant"}


@pytest.mark.parametrize(
    ("entry", "reason"), [("compile and die", "WorkerCrashed"), ("compile for ever", "LoadTimeout")]
)
async def test_what_an_inspection_found_survives_a_compiler_that_fails(
    world: LocalWorld, tmp_path: Path, entry: str, reason: str
) -> None:
    asked = things.task(
        path=world.path, entry=entry, optimize=Optimize.AUTO, out=tmp_path, timeout_seconds=3.0
    )
    answer = await world.backend.run(asked)
    assert answer.result is not None
    assert answer.result["device"] == "CPU"
    assert answer.failure is not None
    assert answer.failure.reason == reason


async def test_a_grandchild_that_left_the_session_is_ended_too(world: LocalWorld) -> None:
    answer = await world.backend.run(things.task(path=world.path, entry="leave"))
    assert answer.failure is None
    assert things.carriers(str(world.directory)) == []


async def test_a_greedy_guest_is_ended_before_it_takes_more_than_it_may(world: LocalWorld) -> None:
    asked = things.task(path=world.path, entry="greedy", memory_bytes=100 << 20, timeout_seconds=30)
    answer = await world.backend.run(asked)
    assert answer.failure is not None
    assert answer.failure.reason == "OutOfMemory"
    assert "100Mi" in answer.failure.message


async def test_output_beyond_its_bound_is_left_out_and_said(world: LocalWorld) -> None:
    answer = await world.backend.run(things.task(path=world.path, entry="talk"))
    assert answer.failure is None
    assert len(answer.stdout) < (1 << 20) + 100
    assert "bytes more were left out" in answer.stdout


async def test_a_runtime_that_is_gone_is_said_to_be_missing(world: LocalWorld) -> None:
    guest = things.guest(world.path, interpreter="/nowhere/bin/python")
    for backend in (world.backend, world.restarted(isolate_tasks=False)):
        answer = await backend.run(Task(kind=TaskKind.INSPECT, guest=guest))
        assert answer.failure is not None
        assert answer.failure.reason == "RuntimeMissing"


async def test_a_cancelled_question_leaves_nothing_running(world: LocalWorld) -> None:
    asking = asyncio.create_task(world.backend.run(things.task(path=world.path, entry="hang")))
    await things.until(count(world), bool)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert things.carriers(str(world.directory)) == []
    assert list((world.directory / "data/tasks").iterdir()) == []


async def test_what_a_dead_control_plane_left_is_ended_by_the_next(world: LocalWorld) -> None:
    home = Path(tempfile.mkdtemp(prefix="task-", dir=world.directory / "data/tasks"))
    env = {"MODELYARD_LAUNCH": places.mark(home), "HOME": str(home)}
    orphan = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"], env=env)
    world.restarted()
    assert orphan.wait(timeout=10) == -signal.SIGKILL
    assert not home.exists()


async def test_a_question_that_is_being_answered_survives_a_second_backend(world: LocalWorld) -> None:
    asking = asyncio.create_task(
        world.backend.run(things.task(path=world.path, entry="hang", timeout_seconds=1))
    )
    await things.until(count(world), bool)
    world.restarted()
    await asyncio.sleep(0.1)
    assert things.carriers(str(world.directory))
    assert (await asking).failure is not None


def count(world: LocalWorld) -> Callable[[], Awaitable[int]]:
    """Counts guests that got as far as running Python."""

    async def look() -> int:
        return len(things.carriers(str(world.directory / "data/tasks")))

    return look
