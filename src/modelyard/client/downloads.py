"""Files that come down: where they go, and whether they are what was published."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from types import TracebackType

from modelyard.domain.errors import NotFound, Refused
from modelyard.domain.model import Artifact, File, ModelVersion


def chosen(version: ModelVersion, artifact: str) -> tuple[Artifact, ...]:
    """The artifact of that name, or all when it is empty; raises NotFound that names those there are."""
    found = tuple(each for each in version.artifacts if artifact in ("", each.name))
    if not found:
        known = ", ".join(each.name for each in version.artifacts)
        raise NotFound(f"{version.ref} has no artifact {artifact!r}; it has {known}")
    return found


def target(directory: Path, file: File) -> Path:
    """Where a file goes, never outside `directory`; its folder is made. Raises Refused."""
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts:
        raise Refused(f"{file.path!r} leads out of the directory; nothing was written")
    place = directory.joinpath(*path.parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


class Checked:
    """A file that appears under its name only once it is whole and has the published checksum."""

    def __init__(self, place: Path, file: File) -> None:
        self._place = place
        self._file = file
        self._part = place.with_name(f".{place.name}.part")
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Add bytes."""
        self._digest.update(chunk)
        self._out.write(chunk)

    def __enter__(self) -> Checked:
        self._out = self._part.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.close()
        seen = self._digest.hexdigest()
        if kind is None and seen == self._file.sha256:
            self._part.replace(self._place)
            return
        self._part.unlink(missing_ok=True)
        if kind is None:
            raise Refused(f"{self._file.path} arrived damaged: sha256 {seen}, published {self._file.sha256}")
