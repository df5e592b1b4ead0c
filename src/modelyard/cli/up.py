"""`up`: the whole platform in one command."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli import context, extras
from modelyard.cli.demo_process import DemoProcess


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(up)


def up(
    host: Annotated[str | None, typer.Option(help="Address of the front door")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the front door")] = None,
    https_port: Annotated[int | None, typer.Option(help="Port of the front door over TLS")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept")] = None,
    domain: Annotated[str | None, typer.Option(help="Services answer at NAME.service.DOMAIN")] = None,
    store: Annotated[
        str | None, typer.Option(help="postgresql://…; else SQLite in the data directory")
    ] = None,
    offline: Annotated[bool | None, typer.Option(help="Never ask a package index")] = None,
    insecure: Annotated[bool | None, typer.Option(help="Listen beyond loopback without users")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Publish, deploy and ask the demo models")] = False,
) -> None:
    """Start the platform in the foreground; Ctrl-C drains and stops it."""
    started = time.monotonic()
    gc.disable()  # until the server runs: a start makes little garbage, and looking for it is a tenth of it
    flags = {
        "server.host": host,
        "server.port": port,
        "server.https_port": https_port,
        "server.domain": domain,
        "server.insecure": insecure,
        "store.url": store,
        "runtimes.offline": offline,
    }
    environ = dict(os.environ) | ({"MODELYARD_HOME": str(data_dir)} if data_dir else {})
    # It begins to import now, on another core, and asks once the front door answers.
    demonstration = DemoProcess(environ, started) if demo else None
    try:
        server = extras.installed("modelyard.server", "server")
        shown = _Shown(started, demonstration)
        raise typer.Exit(server.run(environ, flags, on_ready=shown.ready))
    finally:
        if demonstration is not None:
            demonstration.end()


class _Shown:
    """What the terminal says while the platform runs."""

    def __init__(self, started: float, demonstration: DemoProcess | None) -> None:
        self._started = started
        self._demonstration = demonstration

    def ready(self, url: str, login_link: str) -> None:
        """Called once the front door answers."""
        notes = context.notes()
        notes.print(
            f"Modelyard answers at {url} after {time.monotonic() - self._started:.1f} s", markup=False
        )
        if login_link:
            notes.print(f"console (this link logs you in once): {login_link}", markup=False, soft_wrap=True)
        else:
            notes.print(
                f"console: `{_login()}` prints a link that logs you in once", markup=False, soft_wrap=True
            )
        if self._demonstration is not None:
            self._demonstration.begin(url)


def _login() -> str:
    """What makes a link where this runs."""
    pod = os.environ.get("POD_NAME", "")
    return f"kubectl exec {pod} -- modelyard login --link" if pod else "modelyard login --link"
