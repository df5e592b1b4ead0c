"""Pods whose packages no image has: the environment is really made, and the model really loaded with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from modelyard.backends.base import TaskKind
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.deployment import Phase
from modelyard.domain.errors import BackendError
from tests.kubernetes.test_pods import doubled, files, guest
from tests.kubernetes.test_tasks import SAMPLE, Lender, task
from tests.kubernetes.worlds import World, world
from tests.support import wheels

__all__ = ["files"]
INTERPRETER = "/data/environments/envs/abc/bin/python"
NEEDS = "import scorekit\ndef predict(inputs):\n    return {'double': inputs['x'] * scorekit.TWO}\n"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index")


@pytest.fixture(scope="module")
def lock(packages: Path) -> str:
    lines = [
        wheels.installed(packages / "numpy", "numpy")[1],
        wheels.wheel(packages / "scorekit", "scorekit", "1.0", {"scorekit/__init__.py": "TWO = 2\n"})[1],
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def index_url(packages: Path) -> Iterator[str]:
    with wheels.index(packages) as url:
        yield url


@pytest.fixture
async def here(
    tmp_path: Path, files: tuple[str, dict[str, bytes]], index_url: str, lock: str
) -> AsyncIterator[World]:
    settings = Settings(artifact_url=files[0], index_url=index_url)
    async with world(tmp_path, processes=True, settings=settings) as made:
        locks = {INTERPRETER: lock}
        made.backend._options = replace(made.backend._options, runtime_lock=lambda path: locks.get(path, ""))
        yield made


async def test_a_model_is_served_with_packages_that_the_image_does_not_have(
    here: World, files: tuple[str, dict[str, bytes]]
) -> None:
    model = replace(guest(NEEDS, files[1]), runtime="auto-scorekit", interpreter=INTERPRETER)
    await here.backend.start(here.launch("a", guest=model))
    async with asyncio.timeout(90):
        while (seen := (await here.seen())["a"]).phase is not Phase.READY:
            assert seen.phase is not Phase.FAILED, seen
            await asyncio.sleep(0.1)
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert await doubled(client, seen, 1.5) == 3.0


async def test_a_package_that_is_not_the_locked_one_fails_the_pod_with_the_reason(
    here: World, files: tuple[str, dict[str, bytes]], lock: str
) -> None:
    other = "scorekit==1.0 --hash=sha256:" + "0" * 64 + "\n"
    here.backend._options = replace(here.backend._options, runtime_lock=lambda path: other)
    model = replace(guest(NEEDS, files[1]), runtime="auto-scorekit", interpreter=INTERPRETER)
    await here.backend.start(here.launch("a", guest=model))
    async with asyncio.timeout(60):
        while (found := (await here.seen())["a"]).phase is not Phase.FAILED:
            await asyncio.sleep(0.05)
    assert found.failure is not None
    assert found.failure.reason == "RuntimeBuildFailed", found.failure
    assert "not what was locked" in found.failure.message


async def test_an_interpreter_of_one_machine_is_refused_with_what_to_do(
    here: World, files: tuple[str, dict[str, bytes]]
) -> None:
    model = replace(guest(NEEDS, files[1]), runtime="mine", interpreter="/opt/conda/bin/python")
    with pytest.raises(BackendError, match="runtime mine is an interpreter of one machine") as caught:
        await here.backend.start(here.launch("a", guest=model))
    assert not caught.value.retryable


async def test_a_model_is_tried_with_its_packages(here: World, files: tuple[str, dict[str, bytes]]) -> None:
    lender = Lender(files[0], files[1])
    here.backend._options = replace(here.backend._options, courier=lender)
    asked = task(TaskKind.TEST, NEEDS, lender, request=SAMPLE)
    asked = replace(asked, guest=replace(asked.guest, runtime="auto-scorekit", interpreter=INTERPRETER))
    answer = await here.backend.run(asked)
    assert answer.failure is None, (answer.failure, answer.stderr)
    assert "3.0" in str(answer.result)
