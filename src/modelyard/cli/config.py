"""`config …` and `doctor`: the settings in force, and whether this machine has what it takes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from modelyard import settings
from modelyard.cli import context, extras, output

Kubeconfig = Annotated[str, typer.Option(help="File that says how to reach the cluster")]
Context = Annotated[str, typer.Option("--context", help="Context of that file")]
_USER_INFO = re.compile(r"(?<=://)\S*@")
_PASSWORD = re.compile(r"([?&](?:ssl)?password=)[^&\s]*")
_doctor = typer.Typer(help="Check this machine, its GPUs, or a cluster; each with a remedy.")
group = typer.Typer(no_args_is_help=True, help="Settings, and what clients must trust.")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(group, name="config")
    app.add_typer(_doctor, name="doctor")


@group.command()
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from")] = False,
) -> None:
    """Every setting of the platform on this machine, with its value."""
    loaded = settings.load(settings.home(os.environ), os.environ, {})
    values = {name: _masked(value) for name, value in settings.values(loaded.settings).items()}
    if context.current().output != "table":
        return output.data({n: {"value": v, "origin": loaded.origins[n]} for n, v in values.items()})
    width = max(len(name) for name in values)
    for name, value in values.items():
        note = f"   ({loaded.origins[name]})" if origin else ""
        sys.stdout.write(f"{name:<{width}} = {value!r}{note}\n")


def _masked(value: Any) -> Any:
    """A value as others may see it: addresses without the user and password in them."""
    if not isinstance(value, str):
        return value
    return _PASSWORD.sub(r"\1***", _USER_INFO.sub("***@", value))


@group.command()
def ca() -> None:
    """What clients must trust to speak TLS to a platform with a self-made certificate, in PEM."""
    with context.client() as client:
        sys.stdout.write(client.certificate.authority())


@_doctor.callback(invoke_without_command=True)
def doctor(command: typer.Context) -> None:
    """Check this machine: Python, disk, port, data directory; each with a remedy."""
    if command.invoked_subcommand:
        return
    loaded = settings.load(settings.home(os.environ), os.environ, {})
    checks = [
        ("python", *_python()),
        ("data directory", *_directory(settings.home(os.environ))),
        *((name, *_port(loaded.settings.server.host, port)) for name, port in _doors(loaded.settings)),
    ]
    _tell(checks)


@_doctor.command("kubernetes")
def doctor_kubernetes(kubeconfig: Kubeconfig = "", kube_context: Context = "") -> None:
    """What a cluster can do; needs a kubeconfig and no platform."""
    examining = extras.installed("modelyard.installing.examining", "kubernetes")
    _tell(
        [(each.name, each.ok, each.message) for each in examining.cluster(_target(kubeconfig, kube_context))]
    )


@_doctor.command("gpu")
def doctor_gpu(
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look at a cluster, not at this machine")
    ] = False,
    smoke: Annotated[
        bool, typer.Option(help="Try the GPUs: with `nvidia-smi` here, with a short Job on a cluster's nodes")
    ] = True,
    smoke_seconds: Annotated[float, typer.Option(min=1, max=3600, help="Seconds that it may take")] = 120.0,
    image: Annotated[str, typer.Option(help="Image of that Job; Modelyard's own server without it")] = "",
) -> None:
    """Whether GPUs can be used: of this machine, or with `--cluster` of a cluster; each with a remedy."""
    if not (cluster or kubeconfig or kube_context):
        local = extras.installed("modelyard.standalone.cards", "server")
        _tell([*local.checks(), *([local.smoke(smoke_seconds)] if smoke else [])])
    examining = extras.installed("modelyard.installing.examining", "kubernetes")
    smoking = extras.installed("modelyard.installing.gpus.smoking", "kubernetes")
    chosen = {"image": image} if image else {}
    trial = smoking.Smoke(seconds=smoke_seconds, say=_say, **chosen) if smoke else None
    _tell(map(_told, examining.gpus(_target(kubeconfig, kube_context), trial)))


def _say(text: str) -> None:
    """What is being waited for; apart from what was found."""
    sys.stderr.write(f"{text}\n")


def _told(check: Any) -> tuple[str, bool, str]:
    return check.name, check.ok, check.message


def _target(kubeconfig: str, kube_context: str) -> Any:
    running = extras.installed("modelyard.installing.running", "kubernetes")
    here = settings.load(settings.home(os.environ), os.environ, {}).settings.kubernetes
    return running.Target(
        environ=os.environ, kubeconfig=kubeconfig, context=kube_context, timeout_seconds=30.0,
        cluster_queue=here.cluster_queue,
    )  # fmt: skip


def _tell(checks: Iterable[tuple[str, bool, str]]) -> NoReturn:
    """Print what was found, and end: with 1 when anything is wrong."""
    checks = tuple(checks)
    if context.current().output != "table":
        output.data([{"check": name, "ok": ok, "message": text} for name, ok, text in checks])
    else:
        for name, ok, text in checks:
            sys.stdout.write(f"{'ok  ' if ok else 'FAIL'}  {name}: {text}\n")
    raise typer.Exit(0 if all(ok for _, ok, _ in checks) else 1)


def _python() -> tuple[bool, str]:
    version = ".".join(map(str, sys.version_info[:3]))
    return sys.version_info >= (3, 11), f"{version}, needs 3.11 or newer"


def _directory(home: Path) -> tuple[bool, str]:
    existing = next(each for each in (home, *home.parents) if each.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if not os.access(existing, os.W_OK):
        return False, f"{home} cannot be written; set MODELYARD_HOME to a directory that can"
    return free > 1, f"{home}, {free:.1f} GiB free" + ("" if free > 1 else "; free some space")


def _doors(chosen: settings.Settings) -> list[tuple[str, int]]:
    doors = {
        "front door": chosen.server.port,
        "https port": chosen.server.https_port,
        "second port": chosen.gateway.second_port,
    }
    return [(name, port) for name, port in doors.items() if port]


def _port(host: str, port: int) -> tuple[bool, str]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(1)
        if probe.connect_ex((host, port)) != 0:
            return True, f"{host}:{port} is free"
    running = (settings.home(os.environ) / "server.json").exists()
    return running, f"{host}:{port} is taken" + (" by Modelyard" if running else "; start with --port")
