"""The kept program itself: started in a process group of its own, told to end, ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from modelyard.backends import process
from modelyard.backends.keeper.config import Config

_NOT_FOUND, _NOT_PERMITTED = 127, 126
_TAIL_BYTES = 4096
_ESTABLISHED = "01"


def start(config: Config) -> subprocess.Popen[bytes]:
    """Start the program; what it prints goes where the keeper's own words go. Raises OSError."""
    return subprocess.Popen(
        config.argv, env=dict(config.env), cwd=config.cwd, stdin=subprocess.DEVNULL, process_group=0
    )


def absent(config: Config) -> dict[str, str] | None:
    """Why the command cannot work because its program is not there; None when it may."""
    path = config.env.get("PATH", "")
    if not config.executable or shutil.which(config.executable, path=path):
        return None
    message = f"{config.executable} is not on the PATH of the platform"
    if config.setting:
        message += f"; install it, or set `{config.setting}` to where it is"
    return {"reason": "ProgramNotFound", "message": message}


def unstartable(error: OSError, config: Config) -> dict[str, str]:
    """The failure for an error at the start."""
    if not Path(config.cwd).is_dir():
        return {"reason": "StartFailed", "message": f"the working directory {config.cwd} does not exist"}
    if isinstance(error, FileNotFoundError):
        return {"reason": "ProgramNotFound", "message": f"there is no program {config.argv[0]}"}
    reason = "PermissionDenied" if isinstance(error, PermissionError) else "StartFailed"
    return {"reason": reason, "message": f"{config.argv[0]} cannot be started: {error.strerror}"}


def ended(code: int, config: Config) -> dict[str, str]:
    """The failure of a program that ended by itself, with the last thing that it said."""
    said = _last_words(Path(config.log_path))
    after = f"; its last words: {said}" if said else ""
    if code == _NOT_FOUND:
        return {"reason": "ProgramNotFound", "message": f"the shell found no such program{after}"}
    if code == _NOT_PERMITTED:
        return {"reason": "PermissionDenied", "message": f"the shell may not run the program{after}"}
    how = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
    return {"reason": "ServerExited", "message": f"the server ended {how}{after}"}


def tell(child: subprocess.Popen[bytes], number: signal.Signals, *, alone: bool = False) -> None:
    """Signal the program with everything in its group, or it alone."""
    with contextlib.suppress(ProcessLookupError):
        (os.kill if alone else os.killpg)(child.pid, number)


def kill(child: subprocess.Popen[bytes]) -> None:
    """End the program, its group and its descendants at once."""
    kin = process.family(child.pid)
    tell(child, signal.SIGKILL)
    for each in kin:
        process.send(each, signal.SIGKILL)
    child.wait()


def connections(ports: tuple[int, ...]) -> int:
    """How many connections to the ports are open, as the kernel counts them."""
    wanted = {f"{port:04X}" for port in ports}
    found = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                found += state == _ESTABLISHED and local.rpartition(":")[2] in wanted
    return found


def _last_words(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
