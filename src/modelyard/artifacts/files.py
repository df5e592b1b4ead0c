"""Single files of a directory as streams, in both directions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from modelyard.artifacts import disk, paths


async def chunks(path: Path) -> AsyncIterator[bytes]:
    """A file's bytes in pieces; raises Unavailable when the disk fails."""
    with disk.explained("reading a file"):
        handle = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while data := await asyncio.to_thread(os.read, handle, disk.CHUNK):
                yield data
        finally:
            os.close(handle)


async def write(directory: Path, name: str, data: AsyncIterator[bytes]) -> None:
    """Write a stream beside its place and rename it; raises Invalid for a name that leads out."""
    target = directory / paths.clean(name)
    beside = target.with_name(f".{target.name[:200]}.part")
    with disk.explained(f"writing `{name[:100]}`"):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = await asyncio.to_thread(beside.open, "wb")
        try:
            with file:
                async for piece in data:
                    await asyncio.to_thread(file.write, piece)
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
