"""What a keeper is told, as the JSON document that a backend writes and a keeper reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.domain.health import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A probe with its place filled in: an address to call, a command to run, or a port to connect to."""

    address: str = ""
    """`unix:/path` or `ip:port`; empty for a command."""
    path: str = ""
    """Of an HTTP request; without one it is enough that something listens."""
    argv: tuple[str, ...] = ()
    probe: Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One program and how to keep it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    state_path: str
    log_path: str
    executable: str = ""
    """A program that must be found on the environment's PATH before the command can work."""
    setting: str = ""
    """The platform's setting that names the place of the executable."""
    front_state: str = ""
    """Where the program says itself how it is, when it is a serving front."""
    ports: tuple[int, ...] = ()
    """Whose connections may end before the program is told to stop."""
    readiness: Question | None = None
    liveness: Question | None = None
    ask_env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the probes' commands."""
    ask_cwd: str = "/"
    drain_seconds: float = 30.0
    memory_bytes: int = 0
    """More makes it start again; 0 is no limit."""


def load(path: Path) -> Config:
    """The configuration in a file. Raises OSError, or ValueError for what is none."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return Config(
        **{
            **document,
            "argv": tuple(document["argv"]),
            "ports": tuple(document["ports"]),
            "readiness": _question(document["readiness"]),
            "liveness": _question(document["liveness"]),
        }
    )


def _question(document: dict[str, Any] | None) -> Question | None:
    if document is None:
        return None
    probe = Probe(**document["probe"])
    return Question(**{**document, "argv": tuple(document["argv"]), "probe": probe})
