"""`deployment …`: the rest of what one can do with services."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from modelyard.cli import context, output, services
from modelyard.cli.services import Name
from modelyard.domain import texts

group = typer.Typer(no_args_is_help=True, help="Services: list, show, copy, tokens, events.")
EVENT: list[output.Column] = [
    ("at", lambda e: f"{e.at:%Y-%m-%d %H:%M:%S}"),
    ("kind", lambda e: e.kind),
    ("name", lambda e: e.name),
    ("reason", lambda e: e.reason),
    ("by", lambda e: e.actor),
    ("message", lambda e: e.message),
]


SERVER: list[output.Column] = [
    ("kind", lambda p: p.kind),
    ("image", lambda p: p.image),
    ("command", lambda p: p.command if isinstance(p.command, str) else shlex.join(p.command)),
    ("directory", lambda p: p.working_directory),
    ("ports", lambda p: ", ".join(map(str, p.ports))),
    ("health", lambda p: p.health.readiness.http if p.health.readiness else ""),
    ("metrics", lambda p: p.metrics),
    ("files", lambda p: texts.join_files(p.files)),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(group, name="deployment")


@group.command("list")
def list_deployments() -> None:
    """All services of the project."""
    with context.client() as client:
        output.rows(client.deployments.list(), services.ROW)


@group.command()
def show(name: Name) -> None:
    """One service with its status."""
    with context.client() as client:
        output.show(client.deployments.get(name), services.STATUS)


@group.command()
def delete(name: Name) -> None:
    """The same as `undeploy`."""
    services.undeploy(name)


@group.command()
def create(
    ref: Annotated[str, typer.Argument(help="NAME, NAME@3, NAME@latest, NAME@ALIAS")],
    name: Annotated[str, typer.Option(help="Name of the service; the model's if not said")] = "",
) -> None:
    """Make an offline service of a version, to be scaled or deployed later."""
    with context.client() as client:
        output.show(client.deployments.create_offline(ref, name=name), services.STATUS)


@group.command()
def copy(name: Name, to: Annotated[str, typer.Argument(help="Name of the copy")]) -> None:
    """Make an offline copy under another name."""
    with context.client() as client:
        output.show(client.deployments.copy(name, to), services.STATUS)


@group.command()
def token(
    name: Name,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make a new one; the old one stops working")
    ] = False,
) -> None:
    """The token that opens this service."""
    with context.client() as client:
        secret = client.deployments.rotate_token(name) if rotate else client.deployments.token(name)
    sys.stdout.write(f"{secret}\n")


@group.command()
def server(name: Name) -> None:
    """The program that serves it: command, ports and configuration files, generated ones too."""
    with context.client() as client:
        output.show(client.deployments.server(name), SERVER)


@group.command()
def events(name: Name) -> None:
    """What happened to it, newest first."""
    with context.client() as client:
        output.rows(client.deployments.events(name), EVENT)
