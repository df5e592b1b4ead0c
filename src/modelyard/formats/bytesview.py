"""A model file as bytes that are looked at where they lie, without reading the whole file into memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Damaged(Exception):
    """The bytes are not what their format says; the text gives the reason, without the file's name."""


@contextmanager
def opened(path: Path) -> Iterator[mmap.mmap]:
    """Map a file for reading. Raises Damaged when it is empty."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise Damaged("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
