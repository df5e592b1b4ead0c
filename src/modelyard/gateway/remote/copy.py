"""The copy of the last publication, for routers that start while the control plane is away.

It is kept in pieces that each fit into one object of a cluster, and read from a directory that these are
mounted below. Pieces of two publications never mix: each says which one it is of.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HEAD, BODY = "head.json", "routes.gz"
MOST_BYTES = 900 * 1024
"""Of one piece; an object of a cluster takes a mebibyte in all."""
MOST_PIECES = 4
"""As many as a router has mounted."""


class Copy(Protocol):
    """Where the last publication is kept beside the routers."""

    async def load(self) -> bytes | None:
        """The last one that was saved; None before the first."""

    async def save(self, document: bytes, *, version: int) -> None:
        """Keep this one instead. Raises Unavailable when that cannot be, and TooLarge when it is too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a compressed publication."""

    version: int
    number: int
    pieces: int
    body: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """Name to contents, as it is stored."""
        head = {"version": self.version, "number": self.number, "pieces": self.pieces}
        return {HEAD: json.dumps(head).encode(), BODY: self.body}


def pack(document: bytes, *, version: int, most_bytes: int = MOST_BYTES) -> tuple[Piece, ...]:
    """The publication in as few pieces as can be; the same bytes for the same publication."""
    packed = gzip.compress(document, mtime=0)
    bodies = [packed[at : at + most_bytes] for at in range(0, len(packed), most_bytes)]
    return tuple(
        Piece(version=version, number=number, pieces=len(bodies), body=body)
        for number, body in enumerate(bodies)
    )


def unpack(stored: Iterable[Mapping[str, bytes]]) -> bytes | None:
    """The publication that these are all pieces of; None while one is missing or cannot be read."""
    pieces: dict[int, Piece] = {}
    for files in stored:
        with suppress(ValueError, KeyError, TypeError):
            head = json.loads(files[HEAD])
            pieces[int(head["number"])] = Piece(
                version=int(head["version"]),
                number=int(head["number"]),
                pieces=int(head["pieces"]),
                body=files[BODY],
            )
    first = pieces.get(0)
    if first is None:
        return None
    found = [pieces.get(number) for number in range(first.pieces)]
    bodies = [piece.body for piece in found if piece is not None and piece.version == first.version]
    if len(bodies) != first.pieces:
        return None
    try:
        return gzip.decompress(b"".join(bodies))
    except (OSError, EOFError, zlib.error):
        return None


def read(directory: Path) -> bytes | None:
    """The publication whose pieces are mounted in directories below this one."""
    stored = []
    for below in sorted(directory.glob("*/")):
        with suppress(OSError):
            stored.append({name: (below / name).read_bytes() for name in (HEAD, BODY)})
    return unpack(stored)


class DirectoryCopy:
    """A copy in a directory, where control plane and routers share a disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def load(self) -> bytes | None:
        """The last one that was saved."""
        return read(self._directory)

    async def save(self, document: bytes, *, version: int) -> None:
        """Keep this one instead."""
        for piece in pack(document, version=version):
            below = self._directory / str(piece.number)
            below.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, contents in piece.files.items():
                beside = below / f".{name}.new"
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(contents)
                os.replace(beside, below / name)
