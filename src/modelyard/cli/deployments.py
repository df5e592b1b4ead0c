"""`deployment …`: the rest of what one can do with services."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modelyard.cli import context, output, reach, services
from modelyard.cli.services import Name

group = typer.Typer(no_args_is_help=True, help="Services: list, show, copy, tokens, events.")
endpoints = typer.Typer(no_args_is_help=True, help="Where services answer.")
EVENT: list[output.Column] = [
    ("at", lambda e: f"{e.at:%Y-%m-%d %H:%M:%S}"),
    ("kind", lambda e: e.kind),
    ("name", lambda e: e.name),
    ("reason", lambda e: e.reason),
    ("by", lambda e: e.actor),
    ("message", lambda e: e.message),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(group, name="deployment")
    app.add_typer(endpoints, name="endpoint")


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
def events(name: Name) -> None:
    """What happened to it, newest first."""
    with context.client() as client:
        output.rows(client.deployments.events(name), EVENT)


@endpoints.command("show")
def show_endpoint(name: Name) -> None:
    """Every address of one service, and the line for the hosts file of who cannot resolve its host."""
    columns: list[output.Column] = [
        ("service", lambda v: v.service),
        ("url", lambda v: v.url),
        ("alias", lambda v: v.addresses.alias),
        *reach.COLUMNS,
    ]
    with context.client() as client:
        output.show(client.deployments.get(name), columns)


@endpoints.command("list")
def list_endpoints() -> None:
    """Every service's addresses, with its requests since the gateway started."""
    columns: list[output.Column] = [
        ("service", lambda e: e.service),
        ("url", lambda e: e.url),
        ("host", lambda e: e.addresses.host),
        ("alias", lambda e: e.addresses.alias),
        ("ports", lambda e: ", ".join(map(str, e.addresses.ports))),
        ("requests", lambda e: e.requests),
    ]
    with context.client() as client:
        output.rows(client.deployments.endpoints(), columns)
