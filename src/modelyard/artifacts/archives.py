"""Unpacking tar, tar.gz and zip archives that somebody else made."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from modelyard.artifacts import disk, paths
from modelyard.artifacts.staging import Staging
from modelyard.domain.errors import Invalid, ModelyardError, Refused, TooLarge

MAX_HEADER = 1024 * 1024
"""Bytes of a member's extended header; names fit in far less."""
MAX_DIRECTORY = 64 * 1024 * 1024
"""Bytes of a zip's table of contents."""
ZIP_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
ENCRYPTED = 1
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What the libraries raise for damaged archives; bz2 and gzip raise OSError without a number besides."""
MAX_PADDING = 16 * 1024 * 1024
"""Bytes that may follow the last member."""
TAR_END = bytes(1024)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(staging: Staging, name: str) -> None:
    """Replace the archive `name` by its members, in the folder where it lies; all of them or none.

    Raises Refused, naming the member, for links, devices, names outside the folder, duplicates and bombs;
    Invalid for
    what is no archive; TooLarge above the upload's bounds.
    """
    path = staging.directory / name
    folder = PurePosixPath(name).parent
    before = set(staging.files)
    budget = _budget(staging, path.stat().st_size)
    try:
        for member in _members(path, staging):
            budget = _extract(staging, member, str(folder / _member_name(member.name)), budget)
    except (ModelyardError, OSError, *DAMAGE) as error:
        _undo(staging, before)
        damaged = isinstance(error, DAMAGE) or (isinstance(error, OSError) and error.errno is None)
        if damaged:
            raise Invalid(f"file: `{name}` is not a whole archive ({error}); send it again") from None
        raise
    staging.forget(name)


def _budget(staging: Staging, size: int) -> int:
    bounds = staging.bounds
    return min(bounds.max_bytes - staging.bytes, max(size * bounds.max_ratio, bounds.ratio_floor))


def _undo(staging: Staging, before: set[str]) -> None:
    for name in set(staging.files) - before:
        staging.forget(name)


def _member_name(name: str) -> str:
    try:
        return paths.clean(name, field="archive member")
    except Invalid as error:
        raise Refused(error.message) from None


def _extract(staging: Staging, member: _Member, name: str, budget: int) -> int:
    """Write one member and return how many bytes are still allowed."""
    if member.size > budget:
        raise _too_large(member)
    if name in staging.files:
        raise Refused(f"archive member `{member.name}` is in the archive twice, or was sent beside it")
    source = member.open()
    if source is None:
        raise Refused(f"archive member `{member.name}` cannot be read")
    writer = staging.begin(name)
    try:
        with source:
            while data := source.read(disk.CHUNK):
                budget -= len(data)
                if budget < 0:
                    raise _too_large(member)
                writer.write(data)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return budget


def _too_large(member: _Member) -> TooLarge:
    return TooLarge(
        f"archive member `{member.name[:200]}` unfolds to more than is allowed for an archive of this size; "
        "send the files themselves"
    )


def _members(path: Path, staging: Staging) -> Iterator[_Member]:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if head.startswith(b"PK"):
            yield from _zip_members(file, staging)
        elif head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as inflated:
                yield from _tar_members(inflated, staging)
                _drain(inflated)
        else:
            _check_tar_end(file)
            yield from _tar_members(file, staging)


def _tar_members(file: IO[bytes] | gzip.GzipFile, staging: Staging) -> Iterator[_Member]:
    count = 0
    with tarfile.open(fileobj=file, mode="r|", tarinfo=_BoundedHeader) as archive:
        for member in archive:
            count += 1
            _check_count(member.name, count, staging)
            if member.isdir():
                _member_name(member.name + "/.")
                continue
            if not member.isreg() or member.issparse():
                raise Refused(
                    f"archive member `{member.name[:200]}` is a {_tar_kind(member)}; only files and "
                    f"folders are taken"
                )
            yield _Member(member.name, member.size, lambda member=member: archive.extractfile(member))  # type: ignore[misc]


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f"link to `{member.linkname[:200]}`"
    return "device or pipe" if member.isdev() else "special file"


def _drain(file: gzip.GzipFile) -> None:
    """Read what pads the archive, so that its checksum is compared."""
    left = MAX_PADDING
    while data := file.read(disk.CHUNK):
        left -= len(data)
        if left < 0:
            raise Refused("the archive goes on after its last member; send the files themselves")


def _check_tar_end(file: IO[bytes]) -> None:
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - len(TAR_END)))
    if file.read() != TAR_END:
        raise tarfile.ReadError("its end is missing")
    file.seek(0)


class _BoundedHeader(tarfile.TarInfo):
    """A tar header whose extended part may not fill the memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = self.type in (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if extended and self.size > MAX_HEADER:
            raise Refused(f"archive member `{self.name[:200]}` has a header of {self.size} bytes")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


def _zip_members(file: IO[bytes], staging: Staging) -> Iterator[_Member]:
    _check_zip_directory(file, staging)
    with zipfile.ZipFile(file) as archive:
        for count, member in enumerate(archive.infolist(), 1):
            _check_count(member.filename, count, staging)
            _check_zip_member(member)
            if member.is_dir():
                _member_name(member.filename + "/.")
                continue
            yield _Member(member.filename, member.file_size, lambda member=member: archive.open(member))  # type: ignore[misc]


def _check_zip_directory(file: IO[bytes], staging: Staging) -> None:
    """Refuse a table of contents that would fill the memory, before zipfile reads it."""
    read_end: Callable[[IO[bytes]], list[Any] | None] = zipfile._EndRecData  # type: ignore[attr-defined]
    end = read_end(file)
    if end is None:
        raise zipfile.BadZipFile("its table of contents is missing")
    entries, size = end[4], end[5]
    if size > MAX_DIRECTORY or entries > staging.bounds.max_files * 2:
        raise Refused(f"the archive has {entries} members; at most {staging.bounds.max_files} are taken")
    file.seek(0)


def _check_zip_member(member: zipfile.ZipInfo) -> None:
    mode = member.external_attr >> 16
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
        kind = "link" if stat.S_ISLNK(mode) else "special file"
        raise Refused(
            f"archive member `{member.filename[:200]}` is a {kind}; only files and folders are taken"
        )
    if member.flag_bits & ENCRYPTED:
        raise Refused(f"archive member `{member.filename[:200]}` is encrypted; send it without a password")
    if member.compress_type not in ZIP_METHODS:
        raise Refused(
            f"archive member `{member.filename[:200]}` is compressed in a way that is not known here"
        )


def _check_count(name: str, count: int, staging: Staging) -> None:
    if count > staging.bounds.max_files:
        raise Refused(
            f"archive member `{name[:200]}` is one more than the {staging.bounds.max_files} that are taken"
        )
