"""What a command in a replica writes, as it comes over the line."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes that it wrote."""

    stream: str
    """`stdout` or `stderr`."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """It ended."""

    code: int
    """Negative is a signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that ran to its end."""

    code: int
    stdout: bytes = b""
    stderr: bytes = b""


def read(line: str) -> Piece | Ended | None:
    """One line of the stream of events; None for what says nothing."""
    text = line.removeprefix("data:").strip()
    if not line.startswith("data:") or not text:
        return None
    document = json.loads(text)
    if "exit" in document:
        return Ended(int(document["exit"]))
    return Piece(str(document["stream"]), base64.b64decode(document["data"]))


def ran(pieces: list[Piece], code: int) -> Ran:
    """All of it together."""
    stdout, stderr = (b"".join(p.data for p in pieces if p.stream == name) for name in ("stdout", "stderr"))
    return Ran(code=code, stdout=stdout, stderr=stderr)
