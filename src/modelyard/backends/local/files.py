"""Files that a crash leaves whole: written beside and renamed, locked, thrown away in one step."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TRASH = ".gone-"


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step; only its owner may read it. Raises OSError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step; only its owner may read it. Raises OSError."""
    descriptor, beside = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file with a JSON document in one step. Raises OSError."""
    write_text(path, json.dumps(value, ensure_ascii=False))


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None when the file is missing, half written or something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def lock(path: Path, *, wait: bool = False) -> int | None:
    """A descriptor that holds the lock file until it is closed; None while another process holds it.

    The lock belongs to the open file: a child that inherits the descriptor holds it after its parent died.
    Also None when the file was removed or replaced while this call waited for it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def discard(path: Path) -> None:
    """Remove a directory: gone under its name at once, from the disk afterwards. A missing one is nothing."""
    trash = Path(tempfile.mkdtemp(prefix=_TRASH, dir=path.parent)) if path.exists() else None
    if trash is None:
        return
    with contextlib.suppress(FileNotFoundError):
        path.rename(trash / "it")
    shutil.rmtree(trash, ignore_errors=True)


def directories(path: Path) -> list[Path]:
    """The directories in a directory by name, without what is being thrown away."""
    try:
        found = [each for each in path.iterdir() if not each.name.startswith(".") and each.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found)
