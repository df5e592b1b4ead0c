"""What generators are told of a model, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelyard.domain.health import Health, Probe
from modelyard.domain.model import Serialization, Signature

FIRST_PORT = "first"
"""Stands for the first port, whichever that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model that a server is for; its directory is `{{MODELYARD_MODEL_PATH}}`."""

    name: str = ""
    """The service's name, by which the server knows the model, so that all addresses agree."""
    version: str = ""
    """A number."""
    entry: str = ""
    """The file or directory, relative to the model's directory, that is loaded."""
    serialization: Serialization | None = None
    """None when there is no model."""
    signature: Signature = field(default_factory=Signature)
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What stands for everything that a user left empty."""

    executable: str = ""
    image: str = ""
    command: str = ""
    ports: tuple[int, ...] = ()
    inner_ports: tuple[int, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    metrics: str = ""
    """`PORT:/path`; the port may be `FIRST_PORT`."""


def asked_at(http: str) -> Health:
    """Ready while the address answers well, and started again when it has not for a minute."""
    return Health(
        readiness=Probe(http=http, period_seconds=5.0),
        liveness=Probe(http=http, period_seconds=10.0, failure_threshold=6),
    )


def quoted(path: str) -> str:
    """A path within the model's directory as one word of a shell, whatever characters it has."""
    inside = path.replace("'", "'\\''")
    return '"$MODELYARD_MODEL_PATH"' + (f"/'{inside}'" if inside not in ("", ".") else "")
