"""`render`, `install` and `uninstall`: the platform on a cluster; on a machine see `systemd`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli import context, extras, files, output, systemd
from modelyard.domain.errors import Invalid

Files = Annotated[
    list[Path] | None, typer.Option("--values", "-f", help="File with values; repeat it, later ones count")
]
Words = Annotated[
    list[str] | None, typer.Option("--set", help="One value, such as bind.http_port=30081; repeat it")
]
HttpPort = Annotated[
    str | None, typer.Option(metavar="PORT", help="Where HTTP is outside the cluster: bind.http_port")
]
HttpsPort = Annotated[str | None, typer.Option(metavar="PORT", help="Where HTTPS is: bind.https_port")]
SecondPort = Annotated[
    str | None, typer.Option(metavar="PORT", help="Where services' second ports are: bind.second_http_port")
]
BindIp = Annotated[str | None, typer.Option(metavar="IP", help="Address to listen on: bind.ip")]
Kubeconfig = Annotated[str, typer.Option(help="File that says how to reach the cluster")]
Context = Annotated[str, typer.Option("--context", help="Context of that file")]

_render = typer.Typer(no_args_is_help=True, help="Print what an installation is made of, or a test.")
_install = typer.Typer(no_args_is_help=True, help="Put the platform on a cluster or machine, or update it.")
_uninstall = typer.Typer(no_args_is_help=True, help="Take the platform off a cluster or a machine.")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    systemd.add_to(_render, _install, _uninstall)
    app.add_typer(_render, name="render")
    app.add_typer(_install, name="install")
    app.add_typer(_uninstall, name="uninstall")


@_render.command("kubernetes")
def render_kubernetes(
    values: Files = None,
    assignments: Words = None,
    http_port: HttpPort = None,
    https_port: HttpsPort = None,
    second_http_port: SecondPort = None,
    bind_ip: BindIp = None,
) -> None:
    """Print the platform's manifests as YAML, for `kubectl apply` or for review."""
    rendering = extras.installed("modelyard.installing.rendering", "kubernetes")
    words = _words(assignments, http_port, https_port, second_http_port, bind_ip)
    sys.stdout.write(rendering.render(values or (), words))


@_render.command("test")
def render_test(
    ref: Annotated[str, typer.Argument(help="MODEL@VERSION, or MODEL@ALIAS to follow that")],
    url: Annotated[str, typer.Option(help="How pods reach the platform")],
    data: Annotated[str | None, typer.Option("--data", "-d", help="Rows or inputs as JSON")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="JSON or CSV file; - is stdin")] = None,
    schedule: Annotated[str, typer.Option(help="Such as '0 6 * * 1-5'; without it a Job runs once")] = "",
    time_zone: Annotated[str, typer.Option(help="Of the schedule, such as Europe/Berlin")] = "UTC",
    gpu: Annotated[str, typer.Option(help="GPUs to test on, such as 1 or 1(T4)")] = "0",
    timeout: Annotated[str, typer.Option(help="Of the test, such as 60s")] = "120s",
    secret: Annotated[str, typer.Option(help="Secret with a token under `token`")] = "modelyard-token",  # noqa: S107 - its name
    namespace: Annotated[str, typer.Option(help="Where it is to run")] = "default",
    name: Annotated[str, typer.Option(help="Of the Job or CronJob; else after the model")] = "",
    queue: Annotated[str, typer.Option(help="LocalQueue of Kueue that its Jobs wait in")] = "",
    image: Annotated[str, typer.Option(help="With the command modelyard; else that of this release")] = "",
) -> None:
    """Print a Job or a CronJob that tests a model through the platform, for `kubectl apply -f -`."""
    exporting = extras.installed("modelyard.installing.exporting", "kubernetes")
    with context.client() as client:
        project = client.project
    export = exporting.Export(
        ref=ref, project=project, url=url, secret=secret, namespace=namespace, name=name, image=image,
        data=files.given(data, file), seconds=files.seconds(timeout, "--timeout"), schedule=schedule,
        time_zone=time_zone, gpu=gpu, queue=queue,
    )  # fmt: skip
    sys.stdout.write(exporting.as_yaml(export))


@_install.command("kubernetes")
def install_kubernetes(
    values: Files = None,
    assignments: Words = None,
    http_port: HttpPort = None,
    https_port: HttpsPort = None,
    second_http_port: SecondPort = None,
    bind_ip: BindIp = None,
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
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
        _words(assignments, http_port, https_port, second_http_port, bind_ip),
        say=lambda text: notes.print(text, markup=False, soft_wrap=True),
    )
    output.show(
        installed,
        (
            ("kubernetes", lambda each: ".".join(map(str, each.version))),
            ("addresses", lambda each: " ".join(each.addresses) or "inside the cluster only"),
        ),
    )


@_uninstall.command("kubernetes")
def uninstall_kubernetes(
    everything: Annotated[
        bool, typer.Option("--all", help="End every service too, and take their namespaces away")
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Take records, models' files and keys away too, for ever")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go and what would stay; change nothing")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before services or data go")] = False,
    namespace: Annotated[str, typer.Option(help="The platform's namespace; empty finds it")] = "",
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
    timeout: Annotated[float, typer.Option(help="Seconds until all must be gone")] = 300.0,
) -> None:
    """Take the platform off the cluster; services and data stay unless --all and --data say otherwise."""
    notes = context.notes()
    running = extras.installed("modelyard.installing.running", "kubernetes")
    target = running.Target(
        environ=os.environ, kubeconfig=kubeconfig, context=kube_context, timeout_seconds=timeout
    )

    def agree(plan: Any) -> bool:
        return not dry_run and (yes or not (everything or data) or _agreed(plan))

    removed = running.uninstall(
        target,
        running.Scope(services=everything, data=data),
        namespace=namespace,
        agree=agree,
        say=lambda text: notes.print(f"{text} is gone", markup=False, soft_wrap=True),
    )
    going = "would go" if dry_run else "gone"
    output.show(
        removed,
        (
            (going, lambda each: "; ".join(each.removed) or "nothing"),
            ("stays", lambda each: "; ".join(each.stays)),
        ),
    )


def _agreed(plan: Any) -> bool:
    """Ask on the terminal before what cannot be brought back goes; raises Invalid without one."""
    if not sys.stdin.isatty():
        raise Invalid("--yes: services or data would go, and there is no terminal to ask on; say --yes")
    for each in (*plan.first, *plan.then):
        typer.echo(str(each), err=True)
    for each in plan.namespaces:
        typer.echo(f"Namespace {each} with all that is in it", err=True)
    return typer.confirm("All this goes and cannot be brought back. Go on?", err=True, abort=True)


def _words(
    said: list[str] | None, http: str | None, https: str | None, second: str | None, ip: str | None
) -> list[str]:
    """What `--set` says, and behind it, so that it counts, what has an option of its own."""
    own = {"http_port": http, "https_port": https, "second_http_port": second, "ip": ip}
    return [*(said or ()), *(f"bind.{name}={value}" for name, value in own.items() if value is not None)]
