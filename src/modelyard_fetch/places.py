"""Files on their way in: pieces land in a part file, which becomes the file when its checksum is right.

`NAME/SHA256.part` holds the bytes, `NAME/SHA256.done` the numbers of the pieces that are there, one a line.
Both outlive a killed process, so that the next one goes on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Iterator, List, Set, Tuple

from modelyard_fetch import outcome
from modelyard_fetch.outcome import Failed

PIECE = 8 * 1024 * 1024
PARTS = ".modelyard"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_SHARING = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an error of the disk into Failed."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Failed(
                outcome.NO_SPACE, "no space left while %s; raise the volume's size limit" % what
            ) from None
        raise Failed(outcome.NO_SPACE, "the disk failed while %s: %s" % (what, error.strerror)) from None


@dataclass
class Part:
    """One content that is being fetched, and which of its pieces are there."""

    directory: str
    sha256: str
    size: int
    done: Set[int] = field(default_factory=set)
    whole: bool = False
    """Whether the server sends it in one piece only."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.sha256 + ".part")

    @property
    def ledger(self) -> str:
        return os.path.join(self.directory, self.sha256 + ".done")

    def pieces(self) -> List[Tuple[int, int, int]]:
        """Number, begin and end of every piece; an empty file has one empty piece."""
        starts = range(0, self.size, PIECE) if self.size else [0]
        return [(n, at, min(at + PIECE, self.size)) for n, at in enumerate(starts)]

    def open(self) -> None:
        """Make the part file, or take up the one that is there."""
        os.makedirs(self.directory, exist_ok=True)
        fresh = not os.path.exists(self.path)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(handle, self.size)
        finally:
            os.close(handle)
        self.done = set() if fresh else _ledger(self.ledger)
        if fresh:
            _remove(self.ledger)

    def missing(self) -> List[Tuple[int, int, int]]:
        """The pieces that have not arrived."""
        return [piece for piece in self.pieces() if piece[0] not in self.done]

    def write(self, at: int, chunks: Iterator[bytes]) -> None:
        """Put bytes where they belong."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for data in chunks:
                view = memoryview(data)
                while view:
                    written = os.pwrite(handle, view, at)
                    at, view = at + written, view[written:]
        finally:
            os.close(handle)

    def arrived(self, *numbers: int) -> None:
        """Note pieces as arrived."""
        with self.lock:
            self.done.update(numbers)
            with open(self.ledger, "a", encoding="ascii") as ledger:
                ledger.write("".join("%d\n" % number for number in numbers))

    def right(self) -> bool:
        """Whether the bytes are the published ones."""
        return digest(self.path) == self.sha256

    def discard(self) -> None:
        """Forget what arrived."""
        _remove(self.path)
        _remove(self.ledger)
        self.done = set()


def digest(path: str) -> str:
    """SHA-256 of a file, read in pieces."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1024 * 1024):
            sha.update(data)
    return sha.hexdigest()


def stands(path: str, size: int, sha256: str) -> bool:
    """Whether the file is there and is the right one."""
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) != size:
        return False
    return digest(path) == sha256


def inside(root: str, path: str) -> str:
    """Where a manifest's path is below a directory; raises Failed when links lead out of it."""
    target = os.path.join(root, *path.split("/"))
    parent = os.path.realpath(os.path.dirname(target))
    real = os.path.realpath(root)
    if parent != real and not parent.startswith(real.rstrip("/") + "/"):
        raise Failed(outcome.USAGE, "`%s` leads out of %s by a link" % (path, root))
    return target


def place(source: str, target: str, *, move: bool) -> None:
    """Make a checked file known by its name: moved, or copied beside and renamed.

    Copied rather than linked, so that who writes into one writes into no other; file systems that can share
    the blocks do.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if move:
        os.replace(source, target)
        return
    beside = os.path.join(os.path.dirname(target), ".%s.modelyard" % os.path.basename(target)[:200])
    _remove(beside)
    _copy(source, beside)
    os.replace(beside, target)


def _copy(source: str, target: str) -> None:
    try:
        with open(source, "rb") as read, open(target, "wb") as write:
            while os.copy_file_range(read.fileno(), write.fileno(), 1 << 30):
                pass
    except OSError as error:
        if error.errno not in _NO_SHARING:
            raise
        shutil.copyfile(source, target)


def _ledger(path: str) -> Set[int]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read()
    except OSError:
        return set()
    lines = text.split("\n")[:-1]  # the last one may be cut
    return {int(line) for line in lines if line.isdigit()}


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
