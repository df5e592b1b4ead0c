"""Artifacts in a local directory.

`blobs/ab/abcdef…` holds every file once, read-only, under its SHA-256. `trees/<hash>/files` are directories
of hard links to
them, one for every set of files that was ever asked for. `staging/` holds uploads; each has a lock that dies
with
its process, so what a crash left behind is known for certain.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from modelyard.artifacts import disk, paths, sweeping
from modelyard.artifacts.bounds import Bounds
from modelyard.artifacts.staging import Staging
from modelyard.artifacts.upload import Also, Upload
from modelyard.domain.errors import Refused
from modelyard.domain.model import File


class LocalArtifacts:
    """Content-addressed files below `root`; safe with several processes on the same directory."""

    def __init__(self, root: Path, *, bounds: Bounds | None = None) -> None:
        self._root = root
        self._bounds = bounds or Bounds()

    @asynccontextmanager
    async def upload(
        self, *, bounds: Bounds | None = None, also: Also | None = None
    ) -> AsyncIterator[Upload]:
        """Begin an upload; leaving the block removes whatever was not committed. Raises Unavailable.

        A commit is whole when `also` has had its files too.
        """
        with disk.explained("beginning an upload"):
            place, lock = await asyncio.to_thread(self._new_staging)
        try:
            yield Upload(Staging(place / sweeping.FILES, bounds or self._bounds), self._keep, also)
        finally:
            await asyncio.shield(asyncio.to_thread(_leave, place, lock))

    async def tree(self, files: Sequence[File]) -> Path:
        """Return a directory that holds exactly `files`; read-only, and the same one for the same files.

        Raises Refused when one of them is missing from the store, Unavailable when the disk is full.
        """
        with disk.explained("laying out a model's files"):
            return await asyncio.to_thread(self._tree, tuple(files))

    async def size(self, sha256: str) -> int | None:
        """How many bytes the content of that checksum has; None when it is not here."""
        with disk.explained("looking for a file"):
            return await asyncio.to_thread(self._size, sha256)

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield the file's bytes in chunks of at most 1 MiB.

        The last chunk is only given out when size and checksum are right; otherwise Refused is raised, with
        both.
        """
        digest, size = hashlib.sha256(), 0
        held = b""
        with disk.explained(f"reading `{file.path}`"):
            handle = await asyncio.to_thread(self._open, file)
            try:
                while data := await asyncio.to_thread(os.read, handle, disk.CHUNK):
                    digest.update(data)
                    size += len(data)
                    if held:
                        yield held
                    held = data
            finally:
                os.close(handle)
        compare(file, size, digest.hexdigest())
        if held:
            yield held

    async def read_range(self, file: File, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `end`; only who has all of them can check the sum."""
        with disk.explained(f"reading `{file.path}`"):
            handle = await asyncio.to_thread(self._open, file)
            try:
                while start < end:
                    data = await asyncio.to_thread(os.pread, handle, min(disk.CHUNK, end - start), start)
                    if not data:
                        raise _short(file)
                    start += len(data)
                    yield data
            finally:
                os.close(handle)

    async def address(self, file: File) -> str:
        """Nowhere but here."""
        return ""

    async def contents(self) -> frozenset[str]:
        """The checksum of everything that is stored, wanted or not."""
        with disk.explained("listing what is stored"):
            return await asyncio.to_thread(sweeping.contents, self._root)

    async def verify(self, files: Sequence[File]) -> None:
        """Read every file and compare checksums. Raises Refused with the file's name and both of them."""
        for file in files:
            with disk.explained(f"reading `{file.path}`"):
                await asyncio.to_thread(self._verify, file)

    async def sweep(self, in_use: frozenset[str], now: float) -> int:
        """Remove what nobody needs and return how many uploads, files and trees went.

        Uploads of dead processes go at once; files and trees that hold a checksum outside `in_use` go when
        they have
        not been touched for an hour, so that an upload that is about to be recorded keeps its files.
        """
        with disk.explained("clearing up"):
            return await asyncio.to_thread(sweeping.sweep, self._root, in_use, now)

    async def close(self) -> None:
        """Nothing is held between calls."""

    def _new_staging(self) -> tuple[Path, int]:
        """Make a place for an upload, with a lock on it that says that its process lives."""
        parent = self._root / sweeping.STAGING
        disk.make_directory(parent)
        with disk.locked(self._root / sweeping.LOCK, exclusive=False):
            place = Path(tempfile.mkdtemp(prefix="upload-", dir=parent))
            (place / sweeping.FILES).mkdir()
            return place, disk.hold(place / sweeping.LOCK, fcntl.LOCK_EX)

    def _keep(self, staging: Staging, names: tuple[str, ...]) -> None:
        """Link staged files into the store; durable when this returns."""
        touched: set[Path] = set()
        disk.make_directory(self._root / paths.BLOBS)
        with disk.locked(self._root / sweeping.LOCK, exclusive=False):
            for name in names:
                staging.check_unchanged(name)
                blob = self._blob(staging.files[name].file.sha256)
                disk.make_directory(blob.parent)
                self._keep_one(staging.directory / name, blob, staging.files[name].file)
                touched.add(blob.parent)
            for directory in sorted(touched):
                disk.sync_directory(directory)

    def _keep_one(self, staged: Path, blob: Path, file: File) -> None:
        if blob.is_file() and blob.stat().st_size == file.size and disk.digest(blob) == file.sha256:
            os.utime(blob)  # so that no sweep takes it before it is recorded
            return
        disk.link(staged, blob)
        os.utime(blob)

    def path(self, sha256: str) -> Path:
        """Where the content of that checksum lies, if it is here."""
        return self._blob(sha256)

    async def forget(self, sha256: str) -> None:
        """Remove a content that is damaged and can be had again; trees keep their links to it."""
        await asyncio.to_thread(self._blob(sha256).unlink, missing_ok=True)

    def _blob(self, sha256: str) -> Path:
        return self._root / paths.blob(sha256)

    def _open(self, file: File) -> int:
        try:
            return os.open(self._blob(file.sha256), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise missing(file) from None

    def _size(self, sha256: str) -> int | None:
        try:
            return self._blob(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def _verify(self, file: File) -> None:
        blob = self._blob(file.sha256)
        try:
            size, found = blob.stat().st_size, disk.digest(blob)
        except FileNotFoundError:
            raise missing(file) from None
        compare(file, size, found)

    def _tree(self, files: tuple[File, ...]) -> Path:
        listing = sorted({(file.path, file.sha256) for file in files})
        name = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
        home = self._root / sweeping.TREES / name
        disk.make_directory(self._root / sweeping.STAGING)
        with disk.locked(self._root / sweeping.LOCK, exclusive=False):
            if not (home / sweeping.MANIFEST).is_file():
                self._lay_out(home, files)
            else:
                self._mend(home, files)
                os.utime(home)
        return home / sweeping.FILES

    def _lay_out(self, home: Path, files: tuple[File, ...]) -> None:
        disk.make_directory(home.parent)
        place = Path(tempfile.mkdtemp(prefix="tree-", dir=self._root / sweeping.STAGING))
        try:
            for file in files:
                target = place / sweeping.FILES / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._place(file, target)
            manifest = place / sweeping.MANIFEST
            manifest.write_text(json.dumps(sorted({file.sha256 for file in files})))
            place.chmod(0o755)
            for directory in (place, *(item for item in place.rglob("*") if item.is_dir())):
                disk.sync_directory(directory)
            disk.rename_once(place, home)
            disk.sync_directory(home.parent)
        finally:
            disk.remove_tree(place)

    def _mend(self, home: Path, files: tuple[File, ...]) -> None:
        """Put back what is gone from an existing tree, or is no longer the stored file."""
        for file in files:
            target, blob = home / sweeping.FILES / file.path, self._blob(file.sha256)
            if not blob.is_file():
                raise missing(file)
            if not _is_stored(target, blob, file):
                target.parent.mkdir(parents=True, exist_ok=True)
                self._place(file, target)

    def _place(self, file: File, target: Path) -> None:
        try:
            disk.link(self._blob(file.sha256), target)
        except FileNotFoundError:
            raise missing(file) from None


def _leave(place: Path, lock: int) -> None:
    disk.remove_tree(place)
    os.close(lock)


def _is_stored(target: Path, blob: Path, file: File) -> bool:
    """Whether a tree's file is the stored one, or a copy of it where links do not work."""
    if not target.is_file():
        return False
    return os.path.samefile(target, blob) or disk.digest(target) == file.sha256


def missing(file: File) -> Refused:
    """What to say of a file that is not in the store."""
    return Refused(
        f"ArtifactCorrupt: file `{file.path}` (sha256 {file.sha256}) is missing from the store; publish "
        f"it again"
    )


def _short(file: File) -> Refused:
    return Refused(f"ArtifactCorrupt: file `{file.path}` (sha256 {file.sha256}) is shorter than it was")


def compare(file: File, size: int, found: str) -> None:
    """Raise Refused when what was read is not what was recorded."""
    if found != file.sha256 or size != file.size:
        raise Refused(
            f"ArtifactCorrupt: file `{file.path}` has sha256 {found} and {size} bytes, "
            f"recorded were {file.sha256} and {file.size}; publish the model again"
        )
