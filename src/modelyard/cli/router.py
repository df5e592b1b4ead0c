"""`router`: a gateway of its own, told its routes by a control plane elsewhere."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from modelyard.cli import extras


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(router)


def router(
    api: Annotated[str | None, typer.Option(help="HOST:PORT of the control plane")] = None,
    host: Annotated[str | None, typer.Option(help="IP address to listen on")] = None,
    port: Annotated[str | None, typer.Option(help="Port where clients come in")] = None,
    https_port: Annotated[str | None, typer.Option(help="Where they come in over TLS")] = None,
    second_port: Annotated[str | None, typer.Option(help="Where second ports answer")] = None,
    face_port: Annotated[
        str | None, typer.Option(help="Where the control plane talks to it, over TLS")
    ] = None,
    health_port: Annotated[str | None, typer.Option(help="Where it says whether it is ready")] = None,
    directory: Annotated[str | None, typer.Option(help="Where it keeps its routes")] = None,
    copy: Annotated[str | None, typer.Option(help="Where the copy of the last routes is mounted")] = None,
    token_file: Annotated[str | None, typer.Option(help="File with the control plane's token")] = None,
    certificates: Annotated[
        str | None, typer.Option(help="Directory with its tls.crt, tls.key and ca.crt")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Services answer at NAME.service.DOMAIN")] = None,
) -> None:
    """Run one router of a cluster in the foreground; every option may come as MODELYARD_ROUTER_*."""
    said = {
        "api": api,
        "host": host,
        "port": port,
        "https_port": https_port,
        "second_port": second_port,
        "face_port": face_port,
        "health_port": health_port,
        "directory": directory,
        "copy": copy,
        "token_file": token_file,
        "certificates": certificates,
        "domain": domain,
    }
    running = extras.installed("modelyard.router", "server")
    raise typer.Exit(running.run(running.parse(said, os.environ)))
