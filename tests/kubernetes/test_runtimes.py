"""Pods whose packages no image has: the environment is really made, and the model really loaded with it."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from modelyard.artifacts.wheels import Wheels, WithWheels
from modelyard.backends.base import TaskKind
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.control.deliveries import Couriers
from modelyard.domain.deployment import Phase, Replica
from modelyard.domain.errors import BackendError
from modelyard.domain.runtime import IN_IMAGE
from tests.kubernetes.test_pods import DOUBLES, doubled, guest
from tests.kubernetes.test_tasks import SAMPLE, Lender, task
from tests.kubernetes.worlds import World, world
from tests.support import faces, wheels
from tests.support.cluster.processes.environ import Image

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


@pytest.fixture(scope="module")
def wheelhouse(packages: Path, lock: str, tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """The wheels of the lock, in one directory of the control plane."""
    home = tmp_path_factory.mktemp("wheels")
    for each in packages.glob("*/*.whl"):
        shutil.copy(each, home)
    return Wheels(home)


@pytest.fixture
async def offline(
    tmp_path: Path, files: tuple[str, dict[str, bytes]], lock: str, wheelhouse: Wheels
) -> AsyncIterator[World]:
    """A cluster whose pods reach no index, with a platform that has the wheels."""
    settings = Settings(artifact_url=files[0], index_url="http://127.0.0.1:9/simple")
    for each in wheelhouse.directory.iterdir():
        files[1][hashlib.sha256(each.read_bytes()).hexdigest()] = each.read_bytes()
    async with world(tmp_path, processes=True, settings=settings) as made:
        made.backend._options = replace(
            made.backend._options, runtime_lock=lambda path: lock, wheels=wheelhouse
        )
        yield made


@pytest.fixture
async def here(
    tmp_path: Path, files: tuple[str, dict[str, bytes]], index_url: str, lock: str
) -> AsyncIterator[World]:
    settings = Settings(artifact_url=files[0], index_url=index_url)
    async with world(tmp_path, processes=True, settings=settings) as made:
        locks = {INTERPRETER: lock}
        made.backend._options = replace(made.backend._options, runtime_lock=lambda path: locks.get(path, ""))
        yield made


async def installed(here: World) -> Replica:
    """The replica, once its packages are there and it is ready."""
    async with asyncio.timeout(90):
        while (seen := (await here.seen())["a"]).phase is not Phase.READY:
            assert seen.phase is not Phase.FAILED, seen
            await asyncio.sleep(0.1)
    return seen


async def test_a_model_is_served_with_packages_that_the_image_does_not_have(
    here: World, files: tuple[str, dict[str, bytes]]
) -> None:
    model = replace(guest(NEEDS, files[1]), runtime="auto-scorekit", interpreter=INTERPRETER)
    await here.backend.start(here.launch("a", guest=model))
    seen = await installed(here)
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


IMAGE = "registry.example.org/team/torch:2"


@pytest.mark.parametrize("interpreter", [IN_IMAGE, INTERPRETER])
async def test_a_runtime_that_is_an_image_serves_and_tries_and_installs_in_it(
    here: World, files: tuple[str, dict[str, bytes]], interpreter: str
) -> None:
    """With packages beside it, they are installed by the image's own Python."""
    pulled: list[str] = []
    known = here.kubelet.images

    def image(name: str) -> Image | None:
        pulled.append(name)
        return known("modelyard/serving" if name == IMAGE else name)

    here.kubelet.images = image
    lender = Lender(files[0], files[1])
    here.backend._options = replace(here.backend._options, courier=lender)
    code = NEEDS if interpreter == INTERPRETER else DOUBLES
    asked = task(TaskKind.TEST, code, lender, request=SAMPLE)
    asked = replace(asked, guest=replace(asked.guest, runtime="torch", interpreter=interpreter, image=IMAGE))
    answer = await here.backend.run(asked)
    assert answer.failure is None, (answer.failure, answer.stderr)
    assert IMAGE in pulled, "it was tried there"
    model = replace(guest(code, files[1]), runtime="torch", interpreter=interpreter, image=IMAGE)
    await here.backend.start(here.launch("a", guest=model))
    seen = await installed(here)
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert await doubled(client, seen, 1.5) == 3.0
    (pod,) = (each["spec"] for each in here.objects("Pod") if each["metadata"]["name"].startswith("churn"))
    made = {each["name"]: each["image"] for each in (*pod["initContainers"], *pod["containers"])}
    assert made.pop(names.FETCH) == Settings().images.fetch
    assert set(made.values()) == {IMAGE}
    assert (names.ENVIRONMENT in made) is (interpreter == INTERPRETER)


async def test_an_image_without_modelyards_server_says_what_it_lacks(
    here: World, files: tuple[str, dict[str, bytes]]
) -> None:
    known = here.kubelet.images
    bare = Image(path="/usr/local/bin:/usr/bin:/bin", env={})
    here.kubelet.images = lambda name: bare if name == IMAGE else known(name)
    model = replace(guest(DOUBLES, files[1]), runtime="torch", interpreter=IN_IMAGE, image=IMAGE)
    await here.backend.start(here.launch("a", guest=model))
    async with asyncio.timeout(60):
        while (found := (await here.seen())["a"]).phase is not Phase.FAILED:
            await asyncio.sleep(0.05)
    assert found.failure is not None
    assert found.failure.reason in ("FrontCrashed", "ProgramNotFound"), found.failure
    assert "modelyard" in found.failure.message or "python" in found.failure.message


async def test_a_model_is_tried_with_its_packages(here: World, files: tuple[str, dict[str, bytes]]) -> None:
    lender = Lender(files[0], files[1])
    here.backend._options = replace(here.backend._options, courier=lender)
    asked = task(TaskKind.TEST, NEEDS, lender, request=SAMPLE)
    asked = replace(asked, guest=replace(asked.guest, runtime="auto-scorekit", interpreter=INTERPRETER))
    answer = await here.backend.run(asked)
    assert answer.failure is None, (answer.failure, answer.stderr)
    assert "3.0" in str(answer.result)


async def test_a_model_is_served_with_packages_that_only_the_platform_has(
    offline: World, files: tuple[str, dict[str, bytes]]
) -> None:
    model = replace(guest(NEEDS, files[1]), runtime="auto-scorekit", interpreter=INTERPRETER)
    await offline.backend.start(offline.launch("a", guest=model))
    seen = await installed(offline)
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert await doubled(client, seen, 1.5) == 3.0
    left = [each.name for each in offline.path.glob("pods/*/volumes/runtime/*") if each.name != "environment"]
    assert left == [], "what was installed takes its room once"


async def test_a_wheel_that_the_platform_lacks_is_named_before_a_pod_is_made(
    offline: World, files: tuple[str, dict[str, bytes]], lock: str
) -> None:
    more = lock + f"torch==9.9 --hash=sha256:{'0' * 64}\n"
    offline.backend._options = replace(offline.backend._options, runtime_lock=lambda path: more)
    model = replace(guest(NEEDS, files[1]), runtime="auto-torch", interpreter=INTERPRETER)
    with pytest.raises(BackendError, match=r"runtimes\.wheels: .* of torch==9\.9;") as caught:
        await offline.backend.start(offline.launch("a", guest=model))
    assert (caught.value.reason, caught.value.retryable) == ("RuntimeBuildFailed", False)
    assert offline.objects("Deployment") == []


async def test_a_wheel_that_is_another_when_it_comes_fails_the_pod_with_the_reason(
    offline: World, files: tuple[str, dict[str, bytes]], wheelhouse: Wheels
) -> None:
    scorekit = next(wheelhouse.directory.glob("scorekit-*.whl"))
    data = bytearray(scorekit.read_bytes())
    data[10] ^= 1
    files[1][hashlib.sha256(scorekit.read_bytes()).hexdigest()] = bytes(data)
    model = replace(guest(NEEDS, files[1]), runtime="auto-scorekit", interpreter=INTERPRETER)
    await offline.backend.start(offline.launch("a", guest=model))
    async with asyncio.timeout(60):
        while (found := (await offline.seen())["a"]).phase is not Phase.FAILED:
            await asyncio.sleep(0.05)
    assert found.failure is not None
    assert found.failure.reason == "ArtifactCorrupt", found.failure
    assert "scorekit" in found.failure.message


async def test_a_model_is_tried_with_wheels_of_the_platforms_own_endpoint(
    offline: World, tmp_path: Path, wheelhouse: Wheels
) -> None:
    with faces.live(tmp_path / "platform") as live:
        platform = live.faces.platform
        store = WithWheels(platform.artifacts, wheelhouse)
        object.__setattr__(platform, "artifacts", store)
        couriers = Couriers(
            artifacts=store, master_key=platform.master_key, clock=platform.clock,
            new_id=platform.new_id, base=f"{live.url}/api/v1/artifacts",
        )  # fmt: skip
        made = task(TaskKind.TEST, NEEDS, Lender(""), request=SAMPLE)
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model.py").write_text(NEEDS)
        path = tmp_path / "model"
        asked = replace(
            made, guest=replace(made.guest, path=path, runtime="auto-scorekit", interpreter=INTERPRETER)
        )
        offline.backend._options = replace(offline.backend._options, courier=couriers)
        answer = await offline.backend.run(asked)
    assert answer.failure is None, (answer.failure, answer.stderr)
    assert "3.0" in str(answer.result)
