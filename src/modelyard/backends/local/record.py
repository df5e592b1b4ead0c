"""What a backend writes down about a replica before it starts: the intent that a crash cannot lose."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from modelyard.backends.base import Launch
from modelyard.backends.local import files
from modelyard.backends.local.listening import Listening

NAME = "launch.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One replica as it was meant."""

    replica: str
    revision: int
    address: str
    started_at: float
    """Seconds since the epoch."""
    start_seconds: float
    """How long it may load."""
    boot: str
    """Boot and pid namespace in which its process numbers mean something."""
    gpus: tuple[int, ...] = ()
    cpu_millis: int = 0
    memory_bytes: int = 0
    second_address: str = ""
    metrics_address: str = ""
    ports: tuple[int, ...] = ()
    """Ports of this machine that it holds."""


def make(launch: Launch, *, places: Listening, now: float, boot: str) -> Record:
    """The record of a launch."""
    return Record(
        replica=launch.replica,
        revision=launch.revision,
        address=places.address,
        second_address=places.second_address,
        metrics_address=places.metrics_address,
        ports=tuple(places.ports.values()),
        started_at=now,
        start_seconds=launch.spec.start_timeout_seconds,
        boot=boot,
        gpus=launch.gpus,
        cpu_millis=launch.cpu_millis,
        memory_bytes=launch.memory_bytes,
    )


def save(record: Record, home: Path) -> None:
    """Write the record into a replica's directory. Raises OSError."""
    files.write_json(home / NAME, asdict(record))


def load(home: Path) -> Record | None:
    """The record of a replica's directory; None when there is none that can be read."""
    stored = files.read_json(home / NAME)
    if stored is None:
        return None
    try:
        lists = {"gpus": tuple(stored["gpus"]), "ports": tuple(stored.get("ports", ()))}
        return Record(**{**stored, **lists})
    except (TypeError, KeyError):
        return None
