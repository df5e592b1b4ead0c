"""Contents that the pods of a node share: each is fetched once, under a lock that dies with its holder."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import Iterator, List, Tuple

from modelyard_fetch.places import PARTS

_LOCKS = "locks"
_FORGOTTEN_SECONDS = 24 * 3600.0


def path(cache: str, sha256: str) -> str:
    """Where a content lies in the cache."""
    return os.path.join(cache, sha256[:2], sha256)


@contextmanager
def locked(cache: str, sha256: str) -> Iterator[None]:
    """Be the only one on this node who fetches that content."""
    os.makedirs(os.path.join(cache, _LOCKS), exist_ok=True)
    handle = os.open(os.path.join(cache, _LOCKS, sha256), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("modelyard-fetch: another pod fetches %s; waiting" % sha256, file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def trim(cache: str, most: int) -> int:
    """Remove what was not used for longest until at most so many bytes are left; says how many went.

    What somebody still uses stays: their links and copies are their own.
    """
    found = sorted(_contents(cache))
    excess = sum(size for _, size, _ in found) - most
    removed = 0
    for _, size, file in found:
        if excess <= 0:
            break
        with suppress(FileNotFoundError):  # another pod trims too
            os.unlink(file)
        excess -= size
        removed += 1
    return removed


def make_room(cache: str, most: int, needed: int) -> None:
    """Let so many bytes more fit under the bound (0 for none), and remove what killed pods left for a day."""
    parts = os.path.join(cache, PARTS)
    now = time.time()
    for name in os.listdir(parts) if os.path.isdir(parts) else ():
        with suppress(FileNotFoundError):  # another pod looks too
            if now - os.stat(os.path.join(parts, name)).st_mtime > _FORGOTTEN_SECONDS:
                os.unlink(os.path.join(parts, name))
    if most and needed:
        trim(cache, max(0, most - needed))


def _contents(cache: str) -> Iterator[Tuple[float, int, str]]:
    folders: List[str] = [entry for entry in os.listdir(cache) if len(entry) == 2]
    for folder in folders:
        for name in os.listdir(os.path.join(cache, folder)):
            file = os.path.join(cache, folder, name)
            try:
                seen = os.stat(file)
            except FileNotFoundError:
                continue
            yield seen.st_mtime, seen.st_size, file
