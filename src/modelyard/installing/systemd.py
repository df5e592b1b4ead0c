"""The platform as a service of one machine: its unit, where systemd finds that, and who is told of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.errors import Conflict, FieldError, Invalid

NAME = "modelyard.service"
SYSTEM = Path("/etc/systemd/system")
"""Where administrators put units on every distribution; packages' own directories differ."""
_MARK = "# Written by `modelyard install systemd`; put changes into a drop-in: systemctl edit modelyard"
_STOP_SECONDS = 180
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?")
"""Also those of directory services, such as `svc@corp.example`, and of machines, which end with a dollar."""
_UNPRINTABLE = "must be an absolute path without line breaks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is to run, and as whom."""

    python: Path
    """Of the environment that Modelyard is installed in."""
    home: Path
    """The data directory."""
    user: str = ""
    """Who it runs as; empty is whoever the unit is for."""
    is_personal: bool = False
    """Whether it is a unit of one user, who is the only one that it can run as."""


def directory(*, is_personal: bool, environ: Mapping[str, str]) -> Path:
    """Where the unit belongs."""
    if not is_personal:
        return SYSTEM
    return Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/")) / ".config") / "systemd/user"


def unit(service: Service) -> str:
    """The unit's text. Raises Invalid for what no unit can say.

    Only the control plane is told to end, which ends everything else in order. After a crash replicas and
    gateway go on, and the next control plane, which is started at once, adopts them.
    """
    _require(service)
    wanted_by = "default.target" if service.is_personal else "multi-user.target"
    lines = [
        _MARK,
        "[Unit]",
        "Description=Modelyard, models as services",
        *([] if service.is_personal else ["Wants=network-online.target", "After=network-online.target"]),
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={_quoted(service.python).replace('$', '$$')} -m modelyard up",
        f"Environment={_quoted(f'MODELYARD_HOME={service.home}')}",
        *([f"User={service.user}"] if service.user else []),
        "KillMode=process",
        f"TimeoutStopSec={_STOP_SECONDS}",
        "Restart=on-failure",
        "RestartSec=2",
        "LimitNOFILE=65536",
        "",
        "[Install]",
        f"WantedBy={wanted_by}",
    ]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> bool:
    """Put the unit there, and say whether it was another; raises Conflict for one of somebody else."""
    before = path.read_text() if path.exists() else ""
    if before and not before.startswith(_MARK):
        raise Conflict(f"{path} is there and was not written by Modelyard; move it away, or edit it yourself")
    if before == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


def require_own(path: Path) -> None:
    """Raise Conflict for a unit of somebody else, which is neither stopped nor removed."""
    if not path.read_text().startswith(_MARK):
        raise Conflict(f"{path} was not written by Modelyard; remove it yourself")


def told(words: Sequence[str], *, is_personal: bool) -> str:
    """Tell systemd; what hinders that, empty when it did it."""
    command = ["systemctl", *(["--user"] if is_personal else []), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return f"{' '.join(command)}: {error}"
    said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
    return "" if done.returncode == 0 else f"{' '.join(command)}: {said}"


def _require(service: Service) -> None:
    wrong = [
        FieldError(field, f"{_UNPRINTABLE}, got {str(path)!r}")
        for field, path in (("--data", service.home), ("python", service.python))
        if not path.is_absolute() or not str(path).isprintable()
    ]
    if service.is_personal and service.user:
        wrong.append(FieldError("--as", "a unit of your own runs as you; leave --as or --user out"))
    elif service.user and not _USER.fullmatch(service.user):
        wrong.append(FieldError("--as", f"{service.user[:60]!r} is no name of a user; `id NAME` knows those"))
    if wrong:
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in wrong), errors=wrong)


def _quoted(value: object) -> str:
    """As systemd reads one word: percent signs are its own, and in commands alone dollars too."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'
