"""A tar archive as a stream, from files that are streams themselves."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Iterable

Member = tuple[str, int, AsyncIterator[bytes]]
"""Path, size in bytes, content."""


async def stream(members: Iterable[Member]) -> AsyncIterator[bytes]:
    """The archive's bytes, in the POSIX format; what a member's content raises ends it early."""
    for path, size, chunks in members:
        header = tarfile.TarInfo(path)
        header.size = size
        header.mode = 0o644
        yield header.tobuf(tarfile.PAX_FORMAT)
        async for chunk in chunks:
            yield chunk
        yield b"\0" * (-size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)
