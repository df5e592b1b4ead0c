"""How bytes reach what runs elsewhere, and come back: the contract between a backend and who keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelyard.domain.deployment import Key
from modelyard.domain.model import File


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What somebody may fetch, and perhaps store, for a while."""

    base: str
    """Address of the artifacts: a file is at `base/SHA256`, by GET to read and by PUT to store."""
    token: str
    """Opens exactly the granted files; to be sent as `Authorization: Bearer`."""
    files: tuple[File, ...] = ()


class Courier(Protocol):
    """Lends stored files to replicas and tasks, and takes what tasks made."""

    async def for_revision(self, key: Key, revision: int) -> Grant:
        """The files that a deployment's revision may read, for as long as it exists; raises NotFound."""

    async def for_task(self, directories: Sequence[Path], *, seconds: float, takes_bytes: int = 0) -> Grant:
        """Store what lies in directories, and lend it for so many seconds; paths begin with `0/`, `1/`, ….

        With `takes_bytes` the task may store that much by PUT. Raises Invalid for more than an hour.
        """

    async def collect(self, files: Sequence[File], into: Path) -> None:
        """Write what a task stored into a directory; raises Refused for what is not there or differs."""
