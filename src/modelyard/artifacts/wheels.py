"""Wheels in a directory that somebody filled: which of them a lock means, and how pods get them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.artifacts import disk, files
from modelyard.artifacts.base import Artifacts
from modelyard.artifacts.bounds import Bounds
from modelyard.artifacts.upload import Upload
from modelyard.domain.errors import NotFound, Refused
from modelyard.domain.model import File

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_Look = tuple[str, int, int]
"""Name, size and time of change: what a file is known by until it is another."""


@dataclass(slots=True)
class Wheels:
    """A directory of wheels; each is read once, and again when it was changed."""

    directory: Path
    _known: dict[_Look, str] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    async def of_lock(self, lock: str) -> tuple[File, ...]:
        """Every wheel here that the lock allows; raises NotFound naming packages that have none."""
        there = await self._there()
        found: list[File] = []
        lacking: list[str] = []
        for package, hashes in _packages(lock):
            mine = [there[each] for each in sorted(hashes & there.keys())]
            found += mine
            lacking += [] if mine else [package]
        if lacking:
            names = ", ".join(lacking[:20])
            raise NotFound(
                f"runtimes.wheels: {self.directory} has no wheel, as it was locked, of {names}; put them "
                "there, or leave the setting empty where pods reach a package index"
            )
        return tuple(sorted(set(found), key=lambda file: file.path))

    async def find(self, sha256: str) -> File | None:
        """The wheel of that checksum, if it is here."""
        return (await self._there()).get(sha256)

    async def _there(self) -> dict[str, File]:
        with disk.explained("looking through the wheels"):
            return await asyncio.to_thread(self._look)

    def _look(self) -> dict[str, File]:
        with self._turn:  # many pods may ask at once, and a wheel may be of gigabytes
            seen = {look: self._known.get(look) or self._digest(look) for look in self._listed()}
            self._known = seen
        return {sha256: File(path=look[0], size=look[1], sha256=sha256) for look, sha256 in seen.items()}

    def _listed(self) -> Iterator[_Look]:
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if entry.name.endswith(".whl") and entry.is_file():
                    what = entry.stat()
                    yield entry.name, what.st_size, what.st_mtime_ns

    def _digest(self, look: _Look) -> str:
        return disk.digest(self.directory / look[0])


class WithWheels:
    """A store that also lends wheels, which stay where they are; keeps the contract of Artifacts."""

    def __init__(self, store: Artifacts, wheels: Wheels) -> None:
        self._store = store
        self._wheels = wheels

    def upload(self, *, bounds: Bounds | None = None) -> AbstractAsyncContextManager[Upload]:
        """As the store's."""
        return self._store.upload(bounds=bounds)

    async def tree(self, files: Sequence[File]) -> Path:
        """As the store's."""
        return await self._store.tree(files)

    async def size(self, sha256: str) -> int | None:
        """How many bytes a wheel or a stored content has; None when it is not here."""
        found = await self._wheels.find(sha256)
        return found.size if found else await self._store.size(sha256)

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield the bytes; the last chunk only when size and checksum are right, else Refused."""
        wheel = await self._wheels.find(file.sha256)
        chunks = self._checked(wheel) if wheel else self._store.read(file)
        async for data in chunks:
            yield data

    async def read_range(self, file: File, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `end`."""
        wheel = await self._wheels.find(file.sha256)
        chunks = self._part(wheel, start, end) if wheel else self._store.read_range(file, start, end)
        async for data in chunks:
            yield data

    async def address(self, file: File) -> str:
        """Wheels are had from here alone."""
        return "" if await self._wheels.find(file.sha256) else await self._store.address(file)

    async def contents(self) -> frozenset[str]:
        """As the store's."""
        return await self._store.contents()

    async def verify(self, files: Sequence[File]) -> None:
        """As the store's."""
        await self._store.verify(files)

    async def sweep(self, in_use: frozenset[str], now: float) -> int:
        """As the store's: nobody sweeps wheels."""
        return await self._store.sweep(in_use, now)

    async def close(self) -> None:
        """As the store's."""
        await self._store.close()

    async def _checked(self, wheel: File) -> AsyncIterator[bytes]:
        sha, held = hashlib.sha256(), b""
        async for data in files.chunks(self._wheels.directory / wheel.path):
            if held:
                yield held
            sha.update(data)
            held = data
        if sha.hexdigest() != wheel.sha256:
            raise Refused(f"wheel `{wheel.path}` was changed while it was read; try again")
        yield held

    async def _part(self, wheel: File, start: int, end: int) -> AsyncIterator[bytes]:
        with disk.explained(f"reading `{wheel.path}`"):
            handle = await asyncio.to_thread(os.open, self._wheels.directory / wheel.path, os.O_RDONLY)
            try:
                while start < end:
                    data = await asyncio.to_thread(os.pread, handle, min(disk.CHUNK, end - start), start)
                    if not data:
                        raise Refused(f"wheel `{wheel.path}` is shorter than it was; try again")
                    start += len(data)
                    yield data
            finally:
                os.close(handle)


def _packages(lock: str) -> Iterator[tuple[str, frozenset[str]]]:
    """What a lock pins, as it names it, with the checksums that it allows."""
    name, hashes = "", set[str]()
    for line in lock.splitlines():
        if line.strip() and not line[0].isspace() and not line.startswith(("#", "-")):
            if name:
                yield name, frozenset(hashes)
            name, hashes = re.split(r"[\s;\\]", line, maxsplit=1)[0], set()
        hashes |= set(_HASH.findall(line))
    if name:
        yield name, frozenset(hashes)
