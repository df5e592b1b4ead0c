"""Killed processes, full and read-only disks, flipped bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.artifacts import Artifacts, LocalArtifacts
from modelyard.domain.errors import Refused
from modelyard.domain.model import File
from tests.artifacts.streams import everything, publish, stream

DAY = 86_400.0

UPLOADING = """
import asyncio, pathlib, sys
from modelyard.artifacts import LocalArtifacts

async def forever():
    while True:
        yield b"x" * 1_000_000
        print("wrote", flush=True)

async def main():
    async with LocalArtifacts(pathlib.Path(sys.argv[1])).upload() as upload:
        await upload.add("model/big.bin", forever())

asyncio.run(main())
"""

COMMITTING = """
import asyncio, os, pathlib, signal, sys
from modelyard.artifacts import LocalArtifacts, disk

links = int(sys.argv[2])
real = disk.link

def link(source, target):
    global links
    if links == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    links -= 1
    real(source, target)

disk.link = link

async def one(data):
    yield data

async def main():
    async with LocalArtifacts(pathlib.Path(sys.argv[1])).upload() as upload:
        for name in "abcde":
            await upload.add(name, one(name.encode()))
        await upload.commit()

asyncio.run(main())
"""

FULL = """
import asyncio, pathlib, resource, signal, sys
from modelyard.artifacts import LocalArtifacts
from modelyard.domain.errors import Unavailable

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def data(size):
    for _ in range(size // 65536):
        yield b"x" * 65536

async def main():
    store = LocalArtifacts(pathlib.Path(sys.argv[1]))
    async with store.upload() as upload:
        await upload.add("small", data(65536))
        kept = await upload.commit()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    async with store.upload() as upload:
        try:
            await upload.add("large", data(4_000_000))
        except Unavailable as error:
            print(error.message)
        assert upload.files == ()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.verify(kept)
    async with store.upload() as upload:
        await upload.add("large", data(4_000_000))
        await upload.commit()
    print("recovered")

asyncio.run(main())
"""


async def test_kill_9_in_the_middle_of_an_upload_leaves_nothing_visible(store: Artifacts, root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", UPLOADING, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "wrote\n"
    assert await store.sweep(frozenset(), time.time()) == 0, "a living upload is left alone"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (root / "blobs").exists()
    assert await store.sweep(frozenset(), time.time()) == 1
    assert everything(root) == []
    assert not list((root / "staging").iterdir())


@pytest.mark.parametrize("links", [0, 2, 4])
async def test_kill_9_in_the_middle_of_a_commit_is_cleared_up(
    store: Artifacts, root: Path, links: int
) -> None:
    done = subprocess.run([sys.executable, "-c", COMMITTING, str(root), str(links)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list((root / "blobs").rglob("*/*"))) == links
    await store.sweep(frozenset(), time.time() + DAY)
    assert everything(root) == []
    assert len(await publish(store, {name: name.encode() for name in "abcde"})) == 5


def test_a_full_disk_is_said_and_corrupts_nothing(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(root)], capture_output=True, text=True, check=True)
    said, recovered = done.stdout.splitlines()
    assert said.startswith("disk full: storing `large`")
    assert recovered == "recovered"


async def _drain(store: Artifacts, file: File, received: list[int]) -> None:
    async for chunk in store.read(file):
        received.append(len(chunk))


def _flip(path: Path, at: int) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _blob(root: Path, file: File) -> Path:
    return root / "blobs" / file.sha256[:2] / file.sha256


async def test_a_flipped_bit_is_found_with_the_files_name_and_both_checksums(
    local: LocalArtifacts, root: Path
) -> None:
    files = await publish(local, {"good": b"g" * 10, "weights/model.onnx": b"x" * 3_000_000})
    bad = files[1]
    _flip(_blob(root, bad), 2_999_999)
    with pytest.raises(Refused, match="ArtifactCorrupt") as caught:
        await local.verify(files)
    assert "weights/model.onnx" in caught.value.message
    assert bad.sha256 in caught.value.message
    assert len({word for word in caught.value.message.split() if len(word.strip(",;")) == 64}) == 2
    received: list[int] = []
    with pytest.raises(Refused, match=bad.sha256):
        await _drain(local, bad, received)
    assert sum(received) < bad.size, "the last bytes of a corrupt file are never given out"


async def test_publishing_again_heals_a_corrupt_file_in_its_trees_too(
    local: LocalArtifacts, root: Path
) -> None:
    files = await publish(local, {"model": b"x" * 1000})
    tree = await local.tree(files)
    _flip(_blob(root, files[0]), 5)
    assert await publish(local, {"model": b"x" * 1000}) == files
    await local.verify(files)
    assert await local.tree(files) == tree
    assert (tree / "model").read_bytes() == b"x" * 1000


async def test_a_missing_file_is_named(local: LocalArtifacts, root: Path) -> None:
    files = await publish(local, {"model": b"x"})
    _blob(root, files[0]).unlink()
    for call in (local.verify(files), local.tree(files), anext(local.read(files[0]))):
        with pytest.raises(Refused, match=r"`model`.*missing"):
            await call


async def test_a_recorded_checksum_that_is_none_reads_no_other_file(store: Artifacts) -> None:
    evil = File(path="x", size=1, sha256="../../../../etc/passwd")
    with pytest.raises(Refused, match="not a SHA-256"):
        await store.verify([evil])


async def test_a_sweep_keeps_what_is_in_use_and_what_is_fresh(local: LocalArtifacts, root: Path) -> None:
    old, used = await publish(local, {"a": b"old"}), await publish(local, {"b": b"used"})
    old_tree, used_tree = await local.tree(old), await local.tree(used)
    now = time.time()
    assert await local.sweep(frozenset({used[0].sha256}), now) == 0
    assert await local.sweep(frozenset({used[0].sha256}), now + DAY) == 2
    assert not old_tree.exists()
    assert not _blob(root, old[0]).exists()
    assert (used_tree / "b").read_bytes() == b"used"
    await local.verify(used)


async def test_a_living_upload_survives_a_sweep(store: Artifacts) -> None:
    async with store.upload() as upload:
        await upload.add("a", stream(b"abc"))
        await store.sweep(frozenset(), time.time() + DAY)
        assert len(await upload.commit()) == 1


async def test_a_sweep_of_nothing_is_nothing(store: Artifacts) -> None:
    assert await store.sweep(frozenset(), time.time()) == 0
