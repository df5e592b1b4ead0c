"""What holds for every store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time

import pytest

from modelyard.artifacts import Artifacts
from modelyard.domain.errors import Refused
from modelyard.domain.model import File
from tests.artifacts.conftest import Make
from tests.artifacts.streams import publish, stream

DAY = 86_400.0


async def _read(store: Artifacts, file: File) -> bytes:
    return b"".join([chunk async for chunk in store.read(file)])


async def test_what_was_committed_is_read_whole_and_in_ranges(store: Artifacts) -> None:
    data = os.urandom(3_000_000)
    (file,) = await publish(store, {"model.bin": data})
    assert await store.size(file.sha256) == len(data)
    assert await _read(store, file) == data
    for start, end in ((0, 1), (5, 2_500_000), (len(data) - 1, len(data)), (7, 7)):
        assert b"".join([c async for c in store.read_range(file, start, end)]) == data[start:end]
    await store.verify([file])


async def test_large_and_empty_files_are_kept(store: Artifacts) -> None:
    data = os.urandom(1 << 20) * 40
    files = await publish(store, {"large": data, "empty": b""})
    await store.verify(files)
    tree = await store.tree(files)
    assert (tree / "empty").read_bytes() == b""
    assert hashlib.sha256((tree / "large").read_bytes()).hexdigest() == files[1].sha256


async def test_everything_is_listed(store: Artifacts) -> None:
    assert await store.contents() == frozenset()
    files = await publish(store, {"a": b"1", "b": b"2", "c": b"2"})
    assert await store.contents() == {file.sha256 for file in files}
    assert len(await store.contents()) == 2


async def test_what_is_not_there_is_told(store: Artifacts) -> None:
    gone = File(path="weights.bin", size=3, sha256="0" * 64)
    assert await store.size(gone.sha256) is None
    for call in (store.tree([gone]), store.verify([gone]), _read(store, gone)):
        with pytest.raises(Refused, match=r"`weights.bin` .* is missing from the store; publish it again"):
            await call
    with pytest.raises(Refused, match="missing from the store"):
        async for _ in store.read_range(gone, 0, 1):
            pass


async def test_an_upload_that_was_not_committed_leaves_nothing(store: Artifacts) -> None:
    async with store.upload() as upload:
        await upload.add("a", stream(b"abc"))
    assert await store.contents() == frozenset()


async def test_a_sweep_takes_what_nobody_names_after_an_hour(store: Artifacts) -> None:
    old, used = await publish(store, {"a": b"old"}), await publish(store, {"b": b"used"})
    in_use, now = frozenset({used[0].sha256}), time.time()
    assert await store.sweep(in_use, now) == 0
    assert await store.sweep(in_use, now + DAY) > 0
    assert await store.contents() == in_use
    assert await store.size(old[0].sha256) is None
    await store.verify(used)
    with pytest.raises(Refused, match="missing"):
        await store.tree(old)


async def test_the_same_files_from_many_at_once_are_kept_once(store: Artifacts) -> None:
    content = {"a": b"a" * 100_000, "b": b"b"}
    published = await asyncio.gather(*(publish(store, content) for _ in range(8)))
    assert len(set(published)) == 1
    trees = await asyncio.gather(*(store.tree(published[0]) for _ in range(8)))
    assert len(set(trees)) == 1
    await store.verify(published[0])


async def test_another_process_on_the_same_store_reads_it(make: Make, store: Artifacts) -> None:
    files = await publish(store, {"a": b"abc"})
    other = make()
    await other.verify(files)
    assert ((await other.tree(files)) / "a").read_bytes() == b"abc"


async def test_a_store_that_is_closed_keeps_everything(make: Make, store: Artifacts) -> None:
    files = await publish(store, {"a": b"abc"})
    await store.close()
    await store.close()
    assert ((await make().tree(files)) / "a").read_bytes() == b"abc"
