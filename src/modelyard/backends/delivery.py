"""How bytes reach what runs elsewhere, and come back: the contract between a backend and who keeps them.

A file is at `base/SHA256`: by GET to read it, and by PUT to store it. Tokens go into `Authorization: Bearer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelyard.domain.deployment import Key
from modelyard.domain.model import File


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A directory here, and the files in it that are to be lent."""

    path: Path
    files: tuple[File, ...]
    prefix: str = ""
    """In front of their paths where they are lent to, such as `variant/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a task may fetch, and perhaps store, for a while."""

    base: str
    files: tuple[File, ...] = ()
    """With the paths that they are to get there."""
    tokens: Mapping[str, str] = field(default_factory=dict)
    """What opens each file, by SHA-256."""
    store_token: str = ""
    """Lets the task store files by PUT; empty when it may not."""


class Wheels(Protocol):
    """A directory of wheels here that can be lent."""

    @property
    def directory(self) -> Path:
        """Where they are."""

    async def of_lock(self, lock: str) -> tuple[File, ...]:
        """Every wheel that a lock allows; raises NotFound naming packages that have none."""


class Courier(Protocol):
    """Lends stored files to replicas and tasks, and takes what tasks made."""

    def for_revision(self, key: Key, revision: int, files: Sequence[File]) -> Mapping[str, str]:
        """What opens each file to the pods of a revision, by SHA-256; good for as long as it is remembered.

        The same for the same question, so that objects that hold it do not change.
        """

    async def for_task(self, trees: Sequence[Tree], *, seconds: float, takes_bytes: int = 0) -> Grant:
        """Store what is not stored yet, and lend it for so many seconds; one hour at the most.

        With `takes_bytes` the task may store that much, of which it tells `collect`'s caller the files.
        """

    async def collect(self, files: Sequence[File], into: Path) -> None:
        """Write what a task stored into a directory; raises Refused for what is not there or differs."""
