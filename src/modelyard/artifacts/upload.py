"""One upload: files stream in, are checked where they lie, and become permanent together or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from modelyard.artifacts import archives, disk, paths
from modelyard.artifacts.staging import Staging, Writer
from modelyard.domain.errors import Invalid, NotFound
from modelyard.domain.model import File

Keep = Callable[[Staging, tuple[str, ...]], None]
Also = Callable[[tuple[File, ...]], Awaitable[None]]
"""Called with what was kept, before a commit is whole."""


class Upload:
    """Takes files into a staging directory; `commit` moves them into permanent storage."""

    def __init__(self, staging: Staging, keep: Keep, also: Also | None = None) -> None:
        self._staging = staging
        self._keep = keep
        self._also = also

    @property
    def directory(self) -> Path:
        """Where the files lie until they are committed; they must not be changed there."""
        return self._staging.directory

    @property
    def files(self) -> tuple[File, ...]:
        """What has arrived completely, ordered by path."""
        return tuple(self._staging.files[name].file for name in sorted(self._staging.files))

    async def add(self, path: str, chunks: AsyncIterator[bytes]) -> File:
        """Write one file from a stream of chunks, in constant memory; durable when this returns.

        Raises Invalid for a bad path, Conflict for one that is there, TooLarge above the bounds, Unavailable
        when the
        disk is full. A file whose stream breaks off is removed.
        """
        what = f"storing `{path[:100]}`"
        with disk.explained(what):
            writer = await asyncio.to_thread(self._staging.begin, path)
        try:
            await _pour(chunks, writer, what)
            with disk.explained(what):
                return await asyncio.to_thread(writer.finish)
        except BaseException:
            writer.abandon()
            raise

    async def unpack(self, path: str) -> tuple[File, ...]:
        """Replace an archive (tar, tar.gz, zip) by its members, in the folder where it lies.

        Returns the new files. Raises Refused naming the member that is unsafe, Invalid, NotFound, TooLarge,
        Unavailable.
        """
        name = paths.clean(path)
        if name not in self._staging.files:
            raise NotFound(f"file: `{name}` is not in this upload; send it first")
        before = set(self._staging.files)
        with disk.explained(f"unpacking `{name}`"):
            await asyncio.to_thread(archives.unpack, self._staging, name)
        new = sorted(set(self._staging.files) - before)
        return tuple(self._staging.files[item].file for item in new)

    async def commit(self, subdirectory: str = "") -> tuple[File, ...]:
        """Make the files durable in content-addressed storage; all of them, or those below `subdirectory`.

        Returns them with paths relative to `subdirectory`. They stay in `directory` too until the upload is
        left, so
        several folders can be committed one after the other. Raises Invalid when there are none, Refused
        when one was
        changed since it arrived, Unavailable when the disk is full.
        """
        prefix = f"{paths.clean(subdirectory)}/" if subdirectory.strip("/") else ""
        names = tuple(name for name in sorted(self._staging.files) if name.startswith(prefix))
        if not names:
            where = f"below `{prefix}`" if prefix else "in the upload"
            raise Invalid(f"file: there is no file {where}; send the model's files")
        with disk.explained("storing the upload"):
            await asyncio.to_thread(self._keep, self._staging, names)
        staged = tuple(self._staging.files[name].file for name in names)
        if self._also is not None:
            await self._also(staged)
        return tuple(
            File(path=file.path.removeprefix(prefix), size=file.size, sha256=file.sha256) for file in staged
        )


async def _pour(chunks: AsyncIterator[bytes], writer: Writer, what: str) -> None:
    """Write a stream, small chunks gathered so that not each needs a thread."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= disk.CHUNK:
            with disk.explained(what):
                await asyncio.to_thread(_write_all, writer, waiting)
            waiting, size = [], 0
    with disk.explained(what):
        await asyncio.to_thread(_write_all, writer, waiting)


def _write_all(writer: Writer, chunks: list[bytes]) -> None:
    for chunk in chunks:
        writer.write(chunk)
