"""`serve`: answer with models from files or from versions at once, with no platform around."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli import context, extras
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.project import Trust


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(serve)


def serve(
    path: Annotated[str, typer.Argument(help="File, directory, model repository, or version NAME@VERSION")],
    name: Annotated[str, typer.Option(help="Name of the model, when there is one")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes of each model")] = 1,
    python: Annotated[str, typer.Option(help="Python that has the model's libraries")] = "",
    trust: Annotated[str, typer.Option(help="never, scan or full: which files may be loaded")] = "scan",
    insecure: Annotated[bool, typer.Option(help="Listen beyond loopback; no token is asked")] = False,
) -> None:
    """Serve models at once, with every protocol, with no platform around; Ctrl-C stops it."""
    if trust not in tuple(Trust):
        message = f"must be one of {', '.join(Trust)}, got {trust[:40]!r}"
        raise Invalid(f"--trust: {message}", errors=[FieldError("--trust", message)])
    standalone = extras.installed("modelyard.standalone", "server")
    with tempfile.TemporaryDirectory(prefix="my-pulled-") as directory:
        options = {
            "path": _place(path, Path(directory)),
            "name": name or _name(path),
            "host": host,
            "port": port,
            "workers": workers,
            "python": python,
            "trust": Trust(trust),
            "insecure": insecure,
        }
        raise typer.Exit(_run(standalone, options))


def _run(standalone: Any, options: dict[str, Any]) -> int:
    notes = context.notes()
    code: int = standalone.serve(
        standalone.Options(**options), lambda text: notes.print(text, markup=False, soft_wrap=True)
    )
    return code


def _place(path: str, directory: Path) -> Path:
    """Where the files are; those of a published version are fetched first."""
    if Path(path).exists() or not _is_reference(path):
        return Path(path)
    with context.client() as client:
        client.models.download(path, directory)
    return directory


def _name(path: str) -> str:
    return path.partition("@")[0] if not Path(path).exists() and _is_reference(path) else ""


def _is_reference(path: str) -> bool:
    return "@" in path and "/" not in path
