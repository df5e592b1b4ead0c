"""`render` and `install`: the platform on a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli import context, extras, output

Files = Annotated[
    list[Path] | None, typer.Option("--values", "-f", help="File with values; repeat it, later ones count")
]
Words = Annotated[
    list[str] | None, typer.Option("--set", help="One value, such as bind.http_port=30081; repeat it")
]

_render = typer.Typer(no_args_is_help=True, help="Show what an installation consists of.")
_install = typer.Typer(no_args_is_help=True, help="Put the platform on a cluster, or bring it up to date.")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(_render, name="render")
    app.add_typer(_install, name="install")


@_render.command("kubernetes")
def render_kubernetes(values: Files = None, assignments: Words = None) -> None:
    """Print the platform's manifests as YAML, for `kubectl apply` or for review."""
    rendering = extras.installed("modelyard.installing.rendering", "kubernetes")
    sys.stdout.write(rendering.render(values or (), assignments or ()))


@_install.command("kubernetes")
def install_kubernetes(
    values: Files = None,
    assignments: Words = None,
    kubeconfig: Annotated[str, typer.Option(help="File that says how to reach the cluster")] = "",
    kube_context: Annotated[str, typer.Option("--context", help="Context of that file")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds until the platform must answer")] = 600.0,
) -> None:
    """Apply the platform's manifests and wait until it answers; the same command upgrades."""
    notes = context.notes()
    running = extras.installed("modelyard.installing.running", "kubernetes")
    target = running.Target(
        environ=os.environ, kubeconfig=kubeconfig, context=kube_context, timeout_seconds=timeout
    )
    installed = running.install(
        target,
        values or (),
        assignments or (),
        say=lambda text: notes.print(text, markup=False, soft_wrap=True),
    )
    output.show(
        installed,
        (
            ("kubernetes", lambda each: ".".join(map(str, each.version))),
            ("addresses", lambda each: " ".join(each.addresses) or "inside the cluster only"),
        ),
    )
