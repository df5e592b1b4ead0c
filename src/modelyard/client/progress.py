"""Files that say how much of them has been read, for progress bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO


class Counted:
    """A file that reports the bytes read from it and from its siblings."""

    def __init__(self, file: BinaryIO, report: Callable[[int], None]) -> None:
        self._file = file
        self._report = report

    def read(self, size: int = -1) -> bytes:
        """Read and report."""
        chunk = self._file.read(size)
        self._report(len(chunk))
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of the file."""
        return self._file.tell()

    def fileno(self) -> int:
        """As of the file, so that its size is known without reading it."""
        return self._file.fileno()


def opened(
    files: Mapping[str, Path], stack: ExitStack, on_progress: Callable[[int, int], None] | None
) -> list[tuple[str, Counted]]:
    """Every file open for reading until `stack` closes; progress covers all of them together."""
    total = sum(path.stat().st_size for path in files.values())
    sent = 0

    def report(count: int) -> None:
        nonlocal sent
        sent += count
        if on_progress is not None:
            on_progress(sent, total)

    return [(name, Counted(stack.enter_context(path.open("rb")), report)) for name, path in files.items()]
