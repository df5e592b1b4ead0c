"""Zip archives as model formats use them: opened only when whole, bounded and unambiguous."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from modelyard.formats import jsontext, limits
from modelyard.formats.bytesview import Damaged

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose table of contents can be read in one way only. Raises Damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            check(archive, path.stat().st_size)
            yield archive
    except _BROKEN as error:
        raise Damaged(f"it is not a whole zip file ({error})") from None


def text(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return one member, its checksum verified. Raises Damaged when it is missing or larger than `limit`."""
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise Damaged(f"it has no {name}") from None
    if member.file_size > limit:
        raise Damaged(f"its {name} is larger than {limit} bytes")
    return archive.read(member)


def document(archive: zipfile.ZipFile, name: str, limit: int) -> dict[str, object]:
    """Return one member that is a JSON object. Raises Damaged."""
    return parsed(text(archive, name, limit), name)


def parsed(data: bytes, name: str) -> dict[str, object]:
    """Return bytes that are one JSON object. Raises Damaged."""
    try:
        jsontext.require_nothing_after(data, 0)
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Damaged(f"its {name} is not JSON") from None
    if not isinstance(found, dict):
        raise Damaged(f"its {name} is not a JSON object")
    return found


def check(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive of `size` bytes that could be read in two ways. Raises Damaged."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(names) > limits.MAX_ZIP_ENTRIES or len(set(names)) != len(names):
        raise Damaged("it has too many members, or two of the same name")
    if archive.comment:
        raise Damaged("it has an archive comment, in which another archive may hide")
    for name in names:
        if name.startswith(("/", "\\")) or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
            raise Damaged(f"its member `{name[:100]}` lies outside the archive")
    if sum(member.file_size for member in members) > size * limits.MAX_INFLATION + limits.INFLATION_FLOOR:
        raise Damaged("it unfolds to far more than its size")
    end = size - len(members)
    if any(member.header_offset + member.compress_size > end for member in members):
        raise Damaged("it is not a whole zip file (a member ends after the file)")
