"""The contract that every artifact store keeps; `tests/artifacts/contract.py` checks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from modelyard.artifacts.bounds import Bounds
from modelyard.artifacts.upload import Upload
from modelyard.domain.errors import Forbidden
from modelyard.domain.model import File

Incoming = tuple[str, AsyncIterator[bytes]]
"""Path and content of a file that arrives."""


class Sources(Protocol):
    """Places that models are published from without an upload."""

    def files(self, url: str) -> AsyncIterator[Incoming]:
        """The files at an address, one after the other.

        Raises Invalid for what is no address, Forbidden for one that may not be read, NotFound where
        nothing is, Unavailable.
        """


class NoSources:
    """Where nothing may be read."""

    def files(self, url: str) -> AsyncIterator[Incoming]:
        """Nothing: raises Forbidden."""
        raise Forbidden(f"source: {url[:200]} may not be read; nothing is in `artifacts.sources`")


class Artifacts(Protocol):
    """Files that are kept once, under their SHA-256, and checked on the way out."""

    def upload(self, *, bounds: Bounds | None = None) -> AbstractAsyncContextManager[Upload]:
        """Begin an upload; leaving the block removes whatever was not committed. Raises Unavailable."""

    async def tree(self, files: Sequence[File]) -> Path:
        """Return a directory that holds exactly `files`; read-only, and the same one for the same files.

        Raises Refused when one is missing or damaged, Unavailable when the store cannot be reached.
        """

    async def size(self, sha256: str) -> int | None:
        """How many bytes the content of that checksum has; None when it is not here."""

    def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield the file's bytes; the last chunk only when size and checksum are right, else Refused."""

    def read_range(self, file: File, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `end`; only who has all of them can check the sum."""

    async def address(self, file: File) -> str:
        """Where who may have the file gets it directly, for an hour; empty when only from here."""

    async def contents(self) -> frozenset[str]:
        """The checksum of everything that is stored, wanted or not."""

    async def verify(self, files: Sequence[File]) -> None:
        """Read every file and compare checksums. Raises Refused with the file's name and both of them."""

    async def sweep(self, in_use: frozenset[str], now: float) -> int:
        """Remove what nobody needs, uploads of dead processes too, and return how much went.

        What is younger than an hour stays, so that an upload that is about to be recorded keeps its files.
        """

    async def close(self) -> None:
        """Let go of connections; files stay."""
