"""The options of `deploy` and `plan` that say what serves: another server, its health, its mounts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli import files
from modelyard.domain.server import ServerKind


def serves(
    server_kind: Annotated[
        str | None, typer.Option(help=f"What serves: {', '.join(ServerKind)}; modelyard if not said")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Container image of the server")] = None,
    command: Annotated[
        str | None, typer.Option(help="Command that serves; {{MODELYARD_PORT}} is its port")
    ] = None,
    workdir: Annotated[str | None, typer.Option(help="Where the command runs")] = None,
    port: Annotated[list[int] | None, typer.Option(help="Port that it listens on; twice at most")] = None,
    health: Annotated[str | None, typer.Option(help="8080:/path, /path or shell:COMMAND")] = None,
    metrics: Annotated[str | None, typer.Option(help="Its own metrics, such as 8080:/metrics")] = None,
    mount: Annotated[
        list[str] | None, typer.Option(help="SOURCE(host|memory|config|secret):/path; repeat")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="File of configuration files, each after a line `---name`")
    ] = None,
) -> dict[str, Any]:
    """What serves, and what is laid around it."""
    given = {"image": image, "command": command, "working_directory": workdir, "ports": port or None}
    said = {name: value for name, value in given.items() if value is not None}
    kind = server_kind or (ServerKind.SERVING.value if said else None)
    return {
        "server": {"kind": kind, **said} if kind else None,
        "health": health,
        "metrics": metrics,
        "mounts": ",".join(mount) if mount else None,
        "config": files.read(config) if config else None,
    }
