"""Starts processes that outlive the control plane and whose birth is on disk before they do anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.backends import process
from modelyard.backends.local import files

LOCK = "lock"
"""File in a process's directory that it holds locked for as long as it lives."""
BIRTH = "process"
"""File in a process's directory with its line of /proc/PID/stat."""

# The shell writes down who it is and then becomes the program: same pid, same start, same session. Whoever
# kills the control plane in between leaves either no process or one that is written down. The lock is
# inherited through a descriptor, so a second start of the same directory cannot make a twin.
# A model that takes all memory should be the kernel's first choice, hence oom_score_adj.
_BECOME = """
umask 077
ulimit -c 0
echo 500 2>/dev/null >/proc/self/oom_score_adj
read -r birth </proc/$$/stat && echo "$birth" >"$1" || exit 71
shift
exec "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start and where."""

    argv: Sequence[str]
    env: Mapping[str, str]
    """The whole environment; nothing is inherited."""
    home: Path
    """Directory of its lock and birth; also its working directory."""
    log: Path
    """Where its output is appended."""


def spawn(program: Program) -> subprocess.Popen[bytes] | None:
    """Start a detached process in a session of its own; None when one runs in that directory already.

    Raises OSError when files or the process cannot be made.
    """
    held = files.lock(program.home / LOCK)
    if held is None:
        return None
    try:
        (program.home / BIRTH).unlink(missing_ok=True)
        program.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(program.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(
                ["/bin/sh", "-c", _BECOME, "sh", str(program.home / BIRTH), *program.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=program.home,
                env=dict(program.env),
                pass_fds=(held,),
                start_new_session=True,
            )
        finally:
            os.close(log)
    finally:
        os.close(held)


def running(home: Path) -> bool:
    """Whether the process of a directory lives, or is being started at this moment."""
    born = process.birth(home / BIRTH)
    if born:
        return process.alive(born)
    return home.is_dir() and is_locked(home / LOCK)


def is_locked(path: Path) -> bool:
    """Whether some process holds a lock file; one that does not exist is not locked."""
    if not path.exists():
        return False
    descriptor = files.lock(path)
    if descriptor is None:
        return path.exists()
    os.close(descriptor)
    return False
