"""promote, clear: from stage to stage and out of all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli import context, output, plans, services
from modelyard.cli.services import Name, Timeout, Wait


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (promote, clear):
        app.command()(command)


def promote(
    name: Annotated[str, typer.Argument(help="NAME@test, or NAME@debug")],
    allow_breaking: Annotated[
        bool, typer.Option(help="Also when requests that production answers today would break")
    ] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Take the promoted stage offline then")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would change and change nothing")] = False,
    wait: Wait = True,
    timeout: Timeout = "180s",
) -> None:
    """Make the next stage run what this one runs: debug → test → production."""
    with context.client() as client:
        if dry_run:
            return plans.show(client.deployments.plan_promotion(name))
        view = client.deployments.promote(name, allow_breaking=allow_breaking, clear=clear)
        services.changed(client, view, wait, timeout)


def clear(name: Name) -> None:
    """Take a service offline in all its stages, or NAME@STAGE in one; specs and history stay."""
    with context.client() as client:
        output.rows(client.deployments.clear(name, every_stage="@" not in name), services.ROW)
