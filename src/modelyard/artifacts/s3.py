"""Artifacts in a bucket, with a local directory in front of them.

`PREFIX/blobs/ab/abcdef…` holds every file once. What is written or read passes through the local store, which
checks it, lays out trees and may be lost at any time: the bucket is the truth.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modelyard.artifacts import paths, sweeping
from modelyard.artifacts.bounds import Bounds
from modelyard.artifacts.bucket import Bucket, Seen
from modelyard.artifacts.local import LocalArtifacts, compare, missing
from modelyard.artifacts.upload import Upload
from modelyard.domain.errors import Refused, Unavailable
from modelyard.domain.model import File

_AT_ONCE = 4
_FRESH_SECONDS = sweeping.GRACE_SECONDS / 2
"""An object that is younger is safe from sweeps for as long as it takes to record it."""


class S3Artifacts:
    """Content-addressed files in a bucket; several control planes may share it."""

    def __init__(
        self, bucket: Bucket, cache: LocalArtifacts, *, clock: Callable[[], float], redirect: bool = False
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._cache = cache
        self._redirect = redirect
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._storing: dict[str, int] = {}
        """Contents that are being stored now, and how often; no sweep takes them."""

    @asynccontextmanager
    async def upload(self, *, bounds: Bounds | None = None) -> AsyncIterator[Upload]:
        """Begin an upload; leaving the block removes whatever was not committed. Raises Unavailable."""
        async with self._cache.upload(bounds=bounds, also=self._store_all) as upload:
            yield upload

    async def tree(self, files: Sequence[File]) -> Path:
        """Return a directory that holds exactly `files`, fetched where they are not here yet.

        Raises Refused when one of them is missing or damaged, Unavailable when bucket or disk fail.
        """
        await self._bring({file.sha256: file for file in files})
        return await self._cache.tree(files)

    async def size(self, sha256: str) -> int | None:
        """How many bytes the content of that checksum has; None when it is not here."""
        here = await self._cache.size(sha256)
        if here is not None:
            return here
        seen = await self._bucket.head(paths.blob(sha256))
        return seen.size if seen else None

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield the file's bytes; the last chunk only when size and checksum are right, else Refused."""
        here = await self._is_here(file)
        try:
            async for data in self._cache.read(file) if here else self._read(file):
                yield data
        except Refused:
            if not here:
                raise
            await self._cache.forget(file.sha256)
            what = f"`{file.path}` was damaged on this machine; it comes from the bucket next time"
            raise Unavailable(f"{what}, so try again", retry_after_seconds=1.0) from None

    async def read_range(self, file: File, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `end`; only who has all of them can check the sum."""
        if start >= end:
            return
        if await self._is_here(file):
            source = self._cache.read_range(file, start, end)
        else:
            source = self._bucket.read(paths.blob(file.sha256), start=start, end=end)
        try:
            async for data in source:
                yield data
        except FileNotFoundError:
            raise missing(file) from None

    async def address(self, file: File) -> str:
        """Where who may have the file gets it directly, for an hour; empty unless that was asked for."""
        return await self._bucket.signed(paths.blob(file.sha256)) if self._redirect else ""

    async def contents(self) -> frozenset[str]:
        """The checksum of everything that is stored, wanted or not."""
        return frozenset([_sha256(seen.name) async for seen in self._bucket.list(paths.BLOBS)])

    async def verify(self, files: Sequence[File]) -> None:
        """Read every file from the bucket and compare checksums; what is damaged here only is dropped.

        Raises Refused with the file's name and both of them.
        """
        for file in files:
            async for _ in self._read(file):
                pass
            if await self._is_here(file):
                try:
                    await self._cache.verify([file])
                except Refused:
                    await self._cache.forget(file.sha256)

    async def sweep(self, in_use: frozenset[str], now: float) -> int:
        """Remove what nobody needs from the bucket and from here, and return how much went."""
        removed = await self._cache.sweep(in_use, now)
        async for seen in self._bucket.list(paths.BLOBS):
            if self._is_waste(seen, in_use, now):
                again = await self._bucket.head(seen.name)  # it may have been stored anew since
                if again is not None and self._is_waste(again, in_use, now):
                    await self._bucket.delete(seen.name)
                    removed += 1
        return removed

    async def close(self) -> None:
        """Connections end with the process."""

    def _is_waste(self, seen: Seen, in_use: frozenset[str], now: float) -> bool:
        sha256 = _sha256(seen.name)
        if len(sha256) != paths.SHA256_DIGITS:
            return False  # nothing of ours
        old = now - seen.changed.timestamp() > sweeping.GRACE_SECONDS
        return old and sha256 not in in_use and sha256 not in self._storing

    async def _is_here(self, file: File) -> bool:
        return await self._cache.size(file.sha256) == file.size

    async def _bring(self, files: dict[str, File]) -> None:
        """Have the contents here, checked."""
        await _all(self._bring_one(file) for file in files.values())

    async def _bring_one(self, file: File) -> None:
        async with self._turn:
            if await self._is_here(file):
                return
            async with self._cache.upload(bounds=Bounds(max_bytes=file.size, max_files=1)) as upload:
                await upload.add("content", self._read(file))
                await upload.commit()

    async def _read(self, file: File) -> AsyncIterator[bytes]:
        """From the bucket, the last chunk held back until all is known to be right."""
        digest, size, held = hashlib.sha256(), 0, b""
        try:
            async for data in self._bucket.read(paths.blob(file.sha256)):
                digest.update(data)
                size += len(data)
                if held:
                    yield held
                held = data
        except FileNotFoundError:
            raise missing(file) from None
        compare(file, size, digest.hexdigest())
        if held:
            yield held

    async def _store_all(self, files: tuple[File, ...]) -> None:
        """Have the contents in the bucket; all of them are there when this returns."""
        contents = {file.sha256: file for file in files}
        for sha256 in contents:
            self._storing[sha256] = self._storing.get(sha256, 0) + 1
        try:
            await _all(self._store(file) for file in contents.values())
        finally:
            for sha256 in contents:
                self._storing[sha256] -= 1
                if not self._storing[sha256]:
                    del self._storing[sha256]

    async def _store(self, file: File) -> None:
        """Send a content, unless an equal one came so recently that no sweep of anybody takes it."""
        async with self._turn:
            seen = await self._bucket.head(paths.blob(file.sha256))
            if seen and seen.size == file.size and self._clock() - seen.changed.timestamp() < _FRESH_SECONDS:
                return
            await self._bucket.put(paths.blob(file.sha256), self._cache.path(file.sha256))


async def _all(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them; the first error ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _sha256(name: str) -> str:
    return name.rpartition("/")[2]
