"""`certificate …`: what the HTTPS port proves itself with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli import context, output

group = typer.Typer(no_args_is_help=True, help="The certificate of the HTTPS port.")
_COLUMNS: list[output.Column] = [
    ("source", lambda c: c.source),
    ("subject", lambda c: c.subject),
    ("issuer", lambda c: c.issuer),
    ("hosts", lambda c: ", ".join(c.hosts)),
    ("from", lambda c: f"{c.not_before:%Y-%m-%d %H:%M}"),
    ("until", lambda c: f"{c.not_after:%Y-%m-%d %H:%M}"),
    ("sha256", lambda c: c.sha256),
    ("warnings", lambda c: "; ".join(c.warnings)),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(group, name="certificate")


@group.command()
def show() -> None:
    """The certificate in use, for which hosts, until when, and what should be done about it."""
    with context.client() as client:
        output.show(client.certificate.show(), _COLUMNS)


@group.command("set")
def set_(
    certificate: Annotated[Path, typer.Argument(help="Chain in PEM, the server's own certificate first")],
    key: Annotated[Path, typer.Argument(help="Its private key in PEM, without a password")],
) -> None:
    """Serve with your own certificate from now on; no connection is dropped."""
    with context.client() as client:
        output.show(client.certificate.set(certificate, key), _COLUMNS)


@group.command()
def reset() -> None:
    """Serve with a self-made certificate again."""
    with context.client() as client:
        output.show(client.certificate.reset(), _COLUMNS)
