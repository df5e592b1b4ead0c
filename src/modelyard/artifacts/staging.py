"""Files on their way in: written below a staging directory, hashed while they are written."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelyard.artifacts import disk, paths
from modelyard.artifacts.bounds import Bounds
from modelyard.domain.errors import Conflict, Invalid, Refused, TooLarge
from modelyard.domain.model import File


@dataclass(frozen=True, slots=True)
class Staged:
    """One complete file in staging, and how to see that nobody touched it since."""

    file: File
    inode: int
    changed_ns: int


class Staging:
    """The files of one upload, under one directory and within bounds."""

    def __init__(self, directory: Path, bounds: Bounds) -> None:
        self.directory = directory
        self.bounds = bounds
        self.files: dict[str, Staged] = {}
        self.bytes = 0
        self._directories: set[str] = set()

    def begin(self, path: str) -> Writer:
        """Open a new file for writing. Raises Invalid, Conflict or TooLarge, naming it."""
        name = paths.clean(path)
        folders = [str(parent) for parent in PurePosixPath(name).parents if str(parent) != "."]
        if name in self.files:
            raise Conflict(f"file: `{name}` was sent twice; send every file once")
        if name in self._directories:
            raise Invalid(f"file: `{name}` is a folder of other files; rename one of them")
        taken = next((folder for folder in folders if folder in self.files), None)
        if taken is not None:
            raise Invalid(f"file: `{name}` lies below `{taken}`, which is a file; rename one of them")
        if len(self.files) >= self.bounds.max_files:
            raise TooLarge(
                f"file: `{name}` is one file more than the {self.bounds.max_files} that are allowed"
            )
        target = self.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._directories.update(folders)
        try:
            return Writer(self, name, target)
        except FileExistsError:
            raise Conflict(f"file: `{name}` is being sent already; send every file once") from None

    def check_unchanged(self, name: str) -> None:
        """Raise Refused when a staged file is not exactly what was written."""
        staged = self.files[name]
        try:
            seen = (self.directory / name).lstat()
        except FileNotFoundError:
            seen = None
        if seen is None or (seen.st_ino, seen.st_size, seen.st_mtime_ns) != (
            staged.inode,
            staged.file.size,
            staged.changed_ns,
        ):
            raise Refused(f"file `{name}` was changed while it was being checked; publish it again")

    def forget(self, name: str) -> None:
        """Remove one file, such as an archive after it was unpacked."""
        staged = self.files.pop(name)
        self.bytes -= staged.file.size
        (self.directory / name).unlink(missing_ok=True)


class Writer:
    """One file being written; leaving its block with an error removes it."""

    def __init__(self, staging: Staging, name: str, target: Path) -> None:
        self._staging = staging
        self._name = name
        self._target = target
        self._hash = hashlib.sha256()
        self._size = 0
        self._file = target.open("xb", buffering=0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. Raises TooLarge above the upload's bound."""
        staging = self._staging
        if staging.bytes + len(data) > staging.bounds.max_bytes:
            raise TooLarge(
                f"file: `{self._name}` makes the upload larger than the {staging.bounds.max_bytes} bytes "
                f"allowed; "
                "publish a smaller model or raise `limits.upload`"
            )
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            view = view[written:]
        self._hash.update(data)
        self._size += len(data)
        staging.bytes += len(data)

    def finish(self) -> File:
        """Make the file durable and read-only, and take it into the upload."""
        os.fsync(self._file.fileno())
        os.fchmod(self._file.fileno(), disk.READ_ONLY)
        seen = os.fstat(self._file.fileno())
        self._file.close()
        file = File(path=self._name, size=self._size, sha256=self._hash.hexdigest())
        self._staging.files[self._name] = Staged(file, seen.st_ino, seen.st_mtime_ns)
        return file

    def abandon(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._target.unlink(missing_ok=True)
        self._staging.bytes -= self._size
