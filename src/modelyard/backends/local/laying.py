"""Lays mounts into a replica's directory, as links: no rights are needed, and the paths are told by name."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from modelyard.backends.base import Launch
from modelyard.backends.local import files
from modelyard.domain.errors import BackendError
from modelyard.domain.mounts import Mount, MountKind

DIRECTORY = "mounts"
_SECRETS = "secrets"
"""Directory of the replica with what it may read of the project's secrets."""
_PREFIX = "modelyard-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where mounts come from."""

    secrets: str
    """Directory of PROJECT/NAME directories."""
    memory: str
    """Directory that lives in memory."""
    mark: str
    """Of the replica; names what it has in memory."""


def lay(launch: Launch, home: Path, sources: Sources) -> dict[str, str]:
    """Make the mounts of a replica; the variables that say where they are.

    Raises BackendError naming what is not there, OSError when the disk refuses.
    """
    below = home / DIRECTORY
    below.mkdir(mode=0o700, exist_ok=True)
    names = {"MODELYARD_MOUNT_DIR": str(below)}
    _write_secrets(launch, home / _SECRETS)
    for number, mount in enumerate(launch.spec.mounts):
        source = _source(launch, home, mount, sources, number)
        if not source.exists():
            what = f"{mount.kind} {mount.source}".strip()
            message = f"spec.mounts[{number}]: {what}: there is no {source}"
            raise BackendError(message, retryable=False, reason="MountFailed")
        place = below / mount.path.lstrip("/")
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            place.unlink()
        place.symlink_to(source)
        names[mount.variable] = str(place)
    return names


def clear(sources: Sources) -> None:
    """Remove what a replica has in memory."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for each in Path(sources.memory).glob(f"{_PREFIX}{sources.mark}-*"):
            shutil.rmtree(each, ignore_errors=True)


def _write_secrets(launch: Launch, below: Path) -> None:
    """Files that nobody but the replica's user reads, for the secrets of the project that are mounted."""
    for name in {m.source for m in launch.spec.mounts if m.kind is MountKind.SECRET} & launch.secrets.keys():
        files.discard(below / name)
        (below / name).mkdir(mode=0o700, parents=True)
        for key, value in launch.secrets[name].values.items():
            files.write_bytes(below / name / key, value)


def _source(launch: Launch, home: Path, mount: Mount, sources: Sources, number: int) -> Path:
    match mount.kind:
        case MountKind.HOST:
            return Path(mount.source)
        case MountKind.CONFIG:
            return home / "config" / mount.source
        case MountKind.SECRET if mount.source in launch.secrets:
            return home / _SECRETS / mount.source
        case MountKind.SECRET:
            return Path(sources.secrets) / launch.key.project / mount.source
        case MountKind.MEMORY:
            usable = os.access(sources.memory, os.W_OK | os.X_OK)
            parent = Path(sources.memory) if usable else home / "tmp"
            made = parent / f"{_PREFIX}{sources.mark}-{number}"
            made.mkdir(mode=0o700, exist_ok=True)
            if made.lstat().st_uid != os.getuid() or made.is_symlink():
                message = f"spec.mounts[{number}]: {made} belongs to somebody else"
                raise BackendError(message, retryable=False, reason="MountFailed")
            return made
