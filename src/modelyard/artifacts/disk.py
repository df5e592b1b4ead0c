"""Writing so that it is on the disk or not there at all, and saying plainly why it could not be."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.domain.errors import Unavailable

CHUNK = 1024 * 1024
READ_ONLY = 0o444
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV})


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an error of the disk while `what` is done into Unavailable with its remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise Unavailable(
                f"disk full: {what} needs more space; free some in the data directory and try again",
                retry_after_seconds=30.0,
            ) from error
        if error.errno in DENIED:
            raise Unavailable(
                f"the data directory cannot be written: {what} was denied ({error.strerror}); "
                "make it writable and try again",
                retry_after_seconds=30.0,
            ) from error
        raise Unavailable(f"the disk failed: {what} ({error.strerror}); try again") from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, durably."""
    missing = [path, *path.parents]
    missing = missing[: next(i for i, item in enumerate(missing) if item.is_dir())]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link(source: Path, target: Path) -> None:
    """Put `source` at `target` too, atomically replacing it: by a hard link where that works."""
    # Named by process and thread: the same content may arrive twice at once.
    mark = f"{os.getpid()}-{threading.get_ident()}"
    beside = target.with_name(f".{target.name[:180]}.{mark}.part")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _copy(source, beside)
    os.replace(beside, target)
    beside.unlink(missing_ok=True)  # replacing one link by another of the same file leaves both


def rename_once(place: Path, home: Path) -> None:
    """Make a finished directory known as `home`; nothing when an equal one got there first."""
    try:
        os.rename(place, home)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def remove_tree(path: Path) -> None:
    """Remove a directory with everything in it; what is already gone is no error."""
    shutil.rmtree(path, ignore_errors=True)


def hold(path: Path, kind: int) -> int:
    """Take a lock (fcntl.LOCK_EX, LOCK_SH, with LOCK_NB) and return the handle that holds it.

    Raises BlockingIOError when LOCK_NB is given and somebody else holds it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, kind)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def locked(path: Path, *, exclusive: bool, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that dies with the process; yields False when `wait` is off and somebody else holds it."""
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        handle = hold(path, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(handle)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as write:
        shutil.copyfileobj(read, write, CHUNK)
        write.flush()
        os.fsync(write.fileno())
    target.chmod(READ_ONLY)
