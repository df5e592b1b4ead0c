"""What an upload keeps, what it refuses, and how little memory it needs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.artifacts import Artifacts, Bounds, paths
from modelyard.domain.errors import Conflict, Invalid, Refused, TooLarge
from tests.artifacts.conftest import Make
from tests.artifacts.streams import everything, publish, stream


async def test_a_committed_file_is_stored_under_its_checksum(store: Artifacts, root: Path) -> None:
    (file,) = await publish(store, {"model.onnx": b"abc" * 1000})
    sha256 = hashlib.sha256(b"abc" * 1000).hexdigest()
    assert (file.path, file.size, file.sha256) == ("model.onnx", 3000, sha256)
    assert everything(root) == [f"blobs/{sha256[:2]}/{sha256}"]


async def test_the_same_bytes_are_stored_once(store: Artifacts, root: Path) -> None:
    await publish(store, {"a": b"same", "b/c": b"same"})
    await publish(store, {"d": b"same"})
    assert len(everything(root)) == 1


async def test_leaving_without_commit_leaves_nothing(store: Artifacts, root: Path) -> None:
    async with store.upload() as upload:
        await upload.add("model.pkl", stream(b"x" * 100))
        assert (upload.directory / "model.pkl").read_bytes() == b"x" * 100
    assert everything(root) == []
    assert not list((root / "staging").iterdir())


async def test_a_stream_that_breaks_off_leaves_no_file_in_the_upload(store: Artifacts) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError("gone")

    async with store.upload() as upload:
        with pytest.raises(ConnectionResetError):
            await upload.add("model.pkl", cut())
        assert upload.files == ()
        assert not (upload.directory / "model.pkl").exists()
        await upload.add("model.pkl", stream(b"second try"))
        assert len(await upload.commit()) == 1


async def test_folders_are_committed_one_by_one(store: Artifacts) -> None:
    async with store.upload() as upload:
        for name in ("a/model.onnx", "b/model.onnx", "b/extra/data.bin"):
            await upload.add(name, stream(name.encode()))
        assert [file.path for file in await upload.commit("a")] == ["model.onnx"]
        assert [file.path for file in await upload.commit("b/")] == ["extra/data.bin", "model.onnx"]
        with pytest.raises(Invalid, match="no file below `c/`"):
            await upload.commit("c")


async def test_an_empty_file_is_a_file(store: Artifacts) -> None:
    (file,) = await publish(store, {"empty": b""})
    assert file.size == 0
    assert [chunk async for chunk in store.read(file)] == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        ".",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a\\b",
        "C:x",
        "a\0b",
        "a\nb",
        "x" * 300,
        "a/" * 600 + "b",
        "a\x7f",
    ],
)
async def test_a_bad_path_is_refused_by_name(store: Artifacts, path: str) -> None:
    async with store.upload() as upload:
        with pytest.raises(Invalid, match="relative path"):
            await upload.add(path, stream(b"x"))
        assert upload.files == ()


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_a_cleaned_path_never_leaves_its_directory(path: str) -> None:
    try:
        cleaned = paths.clean(path)
    except Invalid:
        return
    assert not os.path.isabs(cleaned)
    assert os.path.normpath(os.path.join("/root", cleaned)).startswith("/root/")
    assert paths.clean(cleaned) == cleaned


async def test_a_file_sent_twice_is_a_conflict(store: Artifacts) -> None:
    async with store.upload() as upload:
        await upload.add("a", stream(b"1"))
        with pytest.raises(Conflict, match="`a` was sent twice"):
            await upload.add("./a", stream(b"2"))


async def test_a_file_below_a_file_and_a_file_that_is_a_folder_are_refused(store: Artifacts) -> None:
    async with store.upload() as upload:
        await upload.add("a/b", stream(b"1"))
        with pytest.raises(Invalid, match="`a` is a folder"):
            await upload.add("a", stream(b"2"))
        with pytest.raises(Invalid, match="lies below `a/b`"):
            await upload.add("a/b/c", stream(b"2"))


async def test_more_bytes_or_files_than_allowed_are_too_large(make: Make) -> None:
    store = make(Bounds(max_bytes=100, max_files=2))
    async with store.upload() as upload:
        await upload.add("a", stream(b"x" * 60))
        with pytest.raises(TooLarge, match="larger than the 100 bytes"):
            await upload.add("b", stream(b"x" * 60))
        await upload.add("c", stream(b"x" * 40))
        with pytest.raises(TooLarge, match="one file more than the 2"):
            await upload.add("d", stream(b""))


async def test_a_file_changed_after_it_arrived_is_not_committed(store: Artifacts, root: Path) -> None:
    async with store.upload() as upload:
        await upload.add("model.pkl", stream(b"good"))
        target = upload.directory / "model.pkl"
        target.unlink()
        target.write_bytes(b"evil")
        with pytest.raises(Refused, match=r"`model.pkl` was changed"):
            await upload.commit()
    assert everything(root) == []


async def test_files_that_were_not_sent_are_not_committed(store: Artifacts) -> None:
    async with store.upload() as upload:
        await upload.add("model.py", stream(b"x"))
        (upload.directory / "left-behind").write_bytes(b"cache")
        assert [file.path for file in await upload.commit()] == ["model.py"]


async def test_uploads_at_the_same_time_do_not_disturb_one_another(store: Artifacts) -> None:
    results = await asyncio.gather(
        *(publish(store, {"m": bytes([i]) * 100_000, "same": b"s"}) for i in range(12))
    )
    for files in results:
        await store.verify(files)
    assert len({file.sha256 for files in results for file in files}) == 13


BIG = """
import asyncio, pathlib, resource, sys
from modelyard.artifacts import LocalArtifacts

async def chunks():
    block = bytes(range(256)) * 1024
    for _ in range(300 * 4):
        yield block

async def main():
    store = LocalArtifacts(pathlib.Path(sys.argv[1]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with store.upload() as upload:
        await upload.add("big.bin", chunks())
        files = await upload.commit()
    await store.verify(files)
    total = 0
    async for chunk in store.read(files[0]):
        total += len(chunk)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(total, (after - before) // 1024)

asyncio.run(main())
"""


def test_300_megabytes_pass_through_a_few_megabytes_of_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path)], capture_output=True, text=True, check=True
    )
    total, grown = map(int, done.stdout.split())
    assert total == 300 * 1024 * 1024
    assert grown < 40
