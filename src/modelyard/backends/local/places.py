"""Where the embedded backend keeps what belongs to a replica."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from modelyard.backends.local import files
from modelyard.domain.deployment import Key
from modelyard.domain.errors import Invalid

# The kernel takes 107 bytes; the rest is for suffixes that others may add.
_MOST_SOCKET_PATH = 99
_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one installation."""

    directory: Path
    sockets: Path

    @property
    def replicas(self) -> Path:
        """Holds PROJECT/SERVICE/REPLICA directories."""
        return self.directory / "replicas"

    @property
    def logs(self) -> Path:
        """Holds PROJECT/SERVICE/REPLICA.log files; they outlive replicas."""
        return self.directory / "logs"

    @property
    def tasks(self) -> Path:
        """Holds one directory for each task that runs."""
        return self.directory / "tasks"

    def prepare(self) -> None:
        """Make the directories, readable by their owner only. Raises OSError, or Invalid for a long path."""
        longest = len(str(self.socket("x")).encode())
        if longest > _MOST_SOCKET_PATH:
            raise Invalid(
                f"home: the directory for sockets makes paths of {longest} bytes and sockets take "
                f"{_MOST_SOCKET_PATH}; choose a data directory with a shorter path"
            )
        for each in (self.replicas, self.logs, self.tasks, self.sockets):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    def of(self, key: Key) -> Path:
        """Directory of a deployment's replicas."""
        return self.replicas / key.project / key.service

    def replica(self, key: Key, name: str) -> Path:
        """Directory of one replica. Raises Invalid for a name that cannot be one."""
        require_replica(name)
        return self.of(key) / name

    def names(self, key: Key) -> list[str]:
        """Replicas of a deployment that have a directory."""
        return [each.name for each in files.directories(self.of(key))]

    def socket(self, mark: str) -> Path:
        """Where the replica with this mark listens; short, because socket paths must be."""
        return self.sockets / f"{hashlib.sha256(mark.encode()).hexdigest()[:16]}.sock"

    def log(self, key: Key, name: str) -> Path:
        """What a replica wrote. Raises Invalid for a name that cannot be one."""
        require_replica(name)
        return self.logs / key.project / key.service / f"{name}.log"


def mark(directory: Path) -> str:
    """What the processes of a directory carry in their environment; unique on the machine."""
    return hashlib.sha256(str(directory.absolute()).encode()).hexdigest()[:32]


def require_replica(name: str) -> str:
    """The name itself when it can be a replica's; else raises Invalid."""
    if not _REPLICA.fullmatch(name):
        raise Invalid(f"replica: {name[:70]!a} is not the name of a replica; see `modelyard status`")
    return name
