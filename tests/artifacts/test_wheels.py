"""Wheels of a directory: which of them a lock means, and how a store lends them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modelyard.artifacts import Artifacts, LocalArtifacts
from modelyard.artifacts.wheels import Wheels, WithWheels
from modelyard.domain.errors import NotFound, Refused, Unavailable
from modelyard.domain.model import File
from tests.artifacts.streams import publish

CONTENT = {
    "numpy-2.1.0-cp312-cp312-manylinux_2_17_x86_64.whl": b"numpy for one machine" * 9000,
    "numpy-2.1.0-cp312-cp312-manylinux_2_17_aarch64.whl": b"numpy for another",
    "six-1.17.0-py2.py3-none-any.whl": b"six",
    "idle-1.0-py3-none-any.whl": b"nobody locked it",
}
ONE, OTHER, SIX, IDLE = CONTENT


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


LOCK = f"""# made by uv
numpy==2.1.0 ; python_version >= '3.11' \\
    --hash=sha256:{sha(CONTENT[ONE])} \\
    --hash=sha256:{"e" * 64} \\
    --hash=sha256:{sha(CONTENT[OTHER])}
six==1.17.0 --hash=sha256:{sha(CONTENT[SIX])}
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Wheels:
    home = tmp_path / "wheels"
    home.mkdir()
    for name, data in CONTENT.items():
        (home / name).write_bytes(data)
    (home / "README").write_text("no wheel")
    return Wheels(home)


@pytest.fixture
def store(tmp_path: Path, wheels: Wheels) -> Artifacts:
    return WithWheels(LocalArtifacts(tmp_path / "artifacts"), wheels)


def file(name: str) -> File:
    return File(path=name, size=len(CONTENT[name]), sha256=sha(CONTENT[name]))


async def whole(store: Artifacts, wanted: File) -> bytes:
    return b"".join([data async for data in store.read(wanted)])


async def test_a_lock_means_the_wheels_that_it_allows(wheels: Wheels) -> None:
    assert await wheels.of_lock(LOCK) == tuple(file(name) for name in sorted((ONE, OTHER, SIX)))
    assert await wheels.of_lock("") == ()


async def test_packages_without_a_wheel_are_named(wheels: Wheels) -> None:
    (wheels.directory / SIX).write_bytes(b"another six")
    (wheels.directory / ONE).unlink()
    lock = LOCK + f"lost @ https://example.org/lost.whl --hash=sha256:{'f' * 64}\n"
    with pytest.raises(NotFound, match=r"no wheel, as it was locked, of six==1\.17\.0, lost;"):
        await wheels.of_lock(lock)


async def test_a_directory_that_went_is_said_and_may_come_back(wheels: Wheels, tmp_path: Path) -> None:
    wheels.directory.rename(tmp_path / "away")
    with pytest.raises(Unavailable, match="looking through the wheels"):
        await wheels.of_lock(LOCK)
    (tmp_path / "away").rename(wheels.directory)
    assert len(await wheels.of_lock(LOCK)) == 3


async def test_a_store_lends_wheels_and_what_it_has(store: Artifacts) -> None:
    (published,) = await publish(store, {"model.onnx": b"graph"})
    assert await whole(store, published) == b"graph"
    assert await store.size(file(ONE).sha256) == len(CONTENT[ONE])
    assert await whole(store, file(ONE)) == CONTENT[ONE]
    part = [data async for data in store.read_range(file(ONE), 5, 70_000)]
    assert b"".join(part) == CONTENT[ONE][5:70_000]
    assert await store.address(file(SIX)) == ""
    assert await store.size("0" * 64) is None
    assert await store.contents() == {published.sha256}, "wheels are no model's, so no sweep looks at them"


async def test_a_wheel_that_changes_is_another(store: Artifacts, wheels: Wheels) -> None:
    before = file(SIX)
    assert await whole(store, before) == b"six"
    (wheels.directory / SIX).write_bytes(b"seven")
    assert await store.size(before.sha256) is None
    assert await store.size(sha(b"seven")) == 5
    with pytest.raises(Refused, match="ArtifactCorrupt"):
        await whole(store, before)
