"""`up`: the whole platform in one command."""

from __future__ import annotations

import gc
import importlib
import os
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard import Client
from modelyard.cli import context
from modelyard.domain.errors import Invalid, ModelyardError


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(up)


def up(
    host: Annotated[str | None, typer.Option(help="Address of the front door")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the front door")] = None,
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
    server = _installed("modelyard.server", "server")
    flags = {
        "server.host": host,
        "server.port": port,
        "server.domain": domain,
        "server.insecure": insecure,
        "store.url": store,
        "runtimes.offline": offline,
    }
    environ = dict(os.environ) | ({"MODELYARD_HOME": str(data_dir)} if data_dir else {})
    shown = _Shown(environ, started, demo=demo)
    raise typer.Exit(server.run(environ, flags, on_ready=shown.ready))


class _Shown:
    """What the terminal says while the platform runs."""

    def __init__(self, environ: dict[str, str], started: float, *, demo: bool) -> None:
        self._environ = environ
        self._started = started
        self._demo = demo

    def ready(self, url: str, login_link: str) -> None:
        """Called once the front door answers."""
        notes = context.notes()
        notes.print(
            f"Modelyard answers at {url} after {time.monotonic() - self._started:.1f} s", markup=False
        )
        notes.print(f"console (this link logs you in once): {login_link}", markup=False)
        if self._demo:
            threading.Thread(target=self._run_demo, args=(url,), name="demo", daemon=True).start()

    def _run_demo(self, url: str) -> None:
        notes = context.notes()
        try:
            demo = _installed("modelyard.cli.demo", "demo")
            with Client(url, environ=self._environ) as client:
                notes.print("demo:")
                demo.run(
                    client,
                    lambda line: notes.print(line, markup=False, soft_wrap=True),
                    started=self._started,
                )
            notes.print(
                "demo: done; ask one with `modelyard predict digits --sample`; Ctrl-C stops everything"
            )
        except (ModelyardError, ValueError) as error:
            notes.print(f"demo: failed: {error}", markup=False)


def _installed(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("modelyard"):
            raise
        raise Invalid(f"`{error.name}` is not installed; pip install 'modelyard[{extra}]'") from None
