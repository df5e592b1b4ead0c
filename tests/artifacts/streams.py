"""Byte streams for tests."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

from modelyard.artifacts import Artifacts
from modelyard.domain.model import File


async def stream(data: bytes, *, size: int = 7) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def publish(store: Artifacts, files: dict[str, bytes]) -> tuple[File, ...]:
    async with store.upload() as upload:
        for name, data in files.items():
            await upload.add(name, stream(data, size=65536))
        return await upload.commit()


def everything(root: Path) -> list[str]:
    """Every file that a reader of the store could come across, uploads included."""
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "lock"
    )


def tar(members: list[tuple[tarfile.TarInfo, bytes]], *, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data) if info.isreg() else info.size
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def plain_tar(files: dict[str, bytes], *, mode: str = "w:gz") -> bytes:
    return tar([(tarfile.TarInfo(name), data) for name, data in files.items()], mode=mode)


def zipped(files: list[tuple[zipfile.ZipInfo | str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, data in files:
            archive.writestr(info, data)
    return buffer.getvalue()
