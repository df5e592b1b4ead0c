"""`render systemd`, `install systemd` and `uninstall systemd`: the platform as a service of this machine."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Annotated

import typer

from modelyard import settings
from modelyard.cli import context
from modelyard.domain.errors import FieldError, Forbidden, Invalid
from modelyard.installing import systemd
from modelyard.installing.systemd import Service

Personal = Annotated[bool, typer.Option("--user", help="For you alone, without administrator's rights")]
User = Annotated[str, typer.Option("--as", metavar="USER", help="Who it runs as; else who calls sudo")]
Data = Annotated[Path | None, typer.Option(help="Data directory; else MODELYARD_HOME, or ~/.modelyard")]


def add_to(render: typer.Typer, install: typer.Typer, uninstall: typer.Typer) -> None:
    """Add these commands."""
    render.command("systemd")(render_systemd)
    install.command("systemd")(install_systemd)
    uninstall.command("systemd")(uninstall_systemd)


def render_systemd(user: Personal = False, as_: User = "", data: Data = None) -> None:
    """Print the unit that `install systemd` writes."""
    sys.stdout.write(systemd.unit(_service(user, as_, data)))


def install_systemd(
    user: Personal = False,
    as_: User = "",
    data: Data = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Begin now, and at each boot")] = True,
) -> None:
    """Make the platform a service of this machine, or bring its unit up to date."""
    service = _service(user, as_, data)
    path = _path(user)
    text = systemd.unit(service)
    if service.user:
        _account_home(service.user)  # whoever renders a unit may mean another machine
    try:
        changed = systemd.write(path, text)
    except PermissionError:
        raise Forbidden(f"{path} may be written by administrators only: use sudo, or --user") from None
    notes = context.notes()
    notes.print(f"{'wrote' if changed else 'found as it should be'}: {path}")
    steps = [["daemon-reload"], *([["enable", "--now", systemd.NAME]] if start else [])]
    steps += [["try-restart", systemd.NAME]] if start and changed else []
    for words in steps:
        if why := systemd.told(words, is_personal=user):
            notes.print(f"systemd was not told: {why}")
            raise typer.Exit(1)
    if start:
        how = "systemctl --user" if user else "systemctl"
        notes.print(f"it runs; `{how} status modelyard` and `modelyard status` say how")


def uninstall_systemd(user: Personal = False) -> None:
    """Stop the service, drained, and take its unit away; the data directory stays."""
    path, notes = _path(user), context.notes()
    if not path.exists():
        notes.print(f"there is no {path}")
        return
    systemd.require_own(path)
    why = systemd.told(["disable", "--now", systemd.NAME], is_personal=user)
    try:
        path.unlink()
    except PermissionError:
        raise Forbidden(f"{path} may be removed by administrators only: use sudo") from None
    why = why or systemd.told(["daemon-reload"], is_personal=user)
    notes.print(f"removed {path}" + (f"; systemd was not told: {why}" if why else ""))


def _path(user: bool) -> Path:
    return systemd.directory(is_personal=user, environ=os.environ) / systemd.NAME


def _service(user: bool, as_: str, data: Path | None) -> Service:
    caller = "" if user else as_ or os.environ.get("SUDO_USER", "")
    home = data.absolute() if data else _home(caller)
    return Service(python=Path(sys.executable), home=home, user=as_ if user else caller, is_personal=user)


def _home(caller: str) -> Path:
    """The caller's own data directory, also when sudo has changed HOME."""
    if not caller or os.environ.get("MODELYARD_HOME"):
        return settings.home(os.environ).absolute()
    return _account_home(caller) / ".modelyard"


def _account_home(name: str) -> Path:
    """The home of a user of this machine; raises Invalid where there is no such one."""
    try:
        return Path(pwd.getpwnam(name).pw_dir)
    except KeyError:
        message = f"there is no user {name[:60]!r} here; `getent passwd` lists them"
        raise Invalid(f"--as: {message}", errors=[FieldError("--as", message)]) from None
