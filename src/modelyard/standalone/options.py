"""What a person may ask of `modelyard serve`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.project import Trust

Say = Callable[[str], None]
"""Tells the person who waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to serve, where and how."""

    path: Path
    name: str = ""
    """Of the model, when the path holds one."""
    host: str = "127.0.0.1"
    port: int = 8080
    insecure: bool = False
    """Listen beyond loopback, for whoever comes."""
    python: str = ""
    """Interpreter that has the model's libraries; empty is the one that runs this."""
    trust: Trust = Trust.SCAN
    workers: int = 1
    """Processes of each model."""
    max_body_bytes: int = 64 << 20
    """Of one request."""
