"""Candidate: a model that a path seems to hold, before its files are looked into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.model import Format, Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One model and version that was found."""

    name: str
    version: str = ""
    directory: Path
    entry: str = ""
    """The one file of the directory that counts; empty when the directory is the model."""
    format: Format | None = None
    """What its configuration says it is; None leaves that to its files."""
    signature: Signature | None = None
    """What its configuration says of its tensors."""
    problem: str = ""
    """Why it cannot be served, with what to do about it."""
