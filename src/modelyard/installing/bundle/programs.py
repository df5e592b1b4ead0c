"""Programs of this machine that a bundle is made or unpacked with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence

from modelyard.domain.errors import Unavailable

Command = tuple[str, ...]
Say = Callable[[str], None]
_SHOWN = 600


def run(command: Sequence[str], what: str) -> str:
    """What a program printed. Raises Unavailable with its last words when it fails."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise Unavailable(f"{what}: `{command[0]}` cannot be started: {error.strerror}") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-_SHOWN:]
        raise Unavailable(f"{what}: `{' '.join(map(str, command))}` failed: {words}")
    return done.stdout


def first(names: Iterable[str]) -> str:
    """The first of these programs that is on the PATH; empty when none is."""
    return next((name for name in names if shutil.which(name)), "")
