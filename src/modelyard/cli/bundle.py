"""`bundle`: everything for an installation without the Internet, in one directory or file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli import context, extras
from modelyard.cli.install import Files, Words

_bundle = typer.Typer(no_args_is_help=True, help="Install where there is no Internet.")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(_bundle, name="bundle")


@_bundle.command("create")
def create(
    target: Annotated[Path, typer.Argument(help="New directory, or a file that ends with .tar or .tar.gz")],
    lock: Annotated[
        Path | None, typer.Option(help="Lock of the Python packages; else this release's")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="Wheel of Modelyard; else it is built or fetched")
    ] = None,
    image: Annotated[list[str] | None, typer.Option(help="One more image; repeat it")] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="List images, and copy none")] = False,
    values: Files = None,
    assignments: Words = None,
) -> None:
    """Collect wheels, images, manifests and chart, with a checksum of each file."""
    creating = extras.installed("modelyard.installing.bundle.creating", "kubernetes")
    chosen = extras.installed("modelyard.installing.values", "kubernetes").load(
        values or (), assignments or ()
    )
    wanted = creating.Wanted(
        values=chosen, lock=lock, wheel=wheel, images=tuple(image or ()), copies_images=not no_images
    )
    creating.create(wanted, target, say=_say)
    print(target)


@_bundle.command("install")
def install(
    bundle: Annotated[Path, typer.Argument(help="Directory or file that `bundle create` made")],
    venv: Annotated[Path | None, typer.Option(help="Install the wheels into this environment")] = None,
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="Load images, and install")] = False,
    values: Files = None,
    assignments: Words = None,
    kubeconfig: Annotated[str, typer.Option(help="File that says how to reach the cluster")] = "",
    kube_context: Annotated[str, typer.Option("--context", help="Context of that file")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds until the platform must answer")] = 600.0,
) -> None:
    """Check every file of a bundle, and install what is asked for from it alone."""
    unpacking = extras.installed("modelyard.installing.bundle.unpacking", "kubernetes")
    with unpacking.opened(bundle, say=_say) as directory:
        if venv is not None:
            print(unpacking.install_wheels(directory, venv.absolute()))
        if kubernetes:
            unpacking.load_images(directory, say=_say)
            running = extras.installed("modelyard.installing.running", "kubernetes")
            target = running.Target(
                environ=os.environ, kubeconfig=kubeconfig, context=kube_context, timeout_seconds=timeout
            )
            installed = running.install(target, values or (), assignments or (), say=_say)
            print(" ".join(installed.addresses) or "inside the cluster only")


def _say(text: str) -> None:
    context.notes().print(text, markup=False, soft_wrap=True)
