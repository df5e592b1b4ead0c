"""deploy, plan, predict, status, explain, logs, history, metrics, rollback, restart, scale, undeploy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard import Client
from modelyard.cli import apply_file, context, files, output, plans, reach, spec_options
from modelyard.cli.metrics import metrics
from modelyard.domain import traffic, variant
from modelyard.domain.priority import Priority
from modelyard.domain.views import DeploymentView

Ref = Annotated[str, typer.Argument(help="NAME, NAME@3, NAME@latest, NAME@ALIAS")]
SpecFile = Annotated[Path | None, typer.Option("--file", "-f", help="YAML with kind: Deployment")]
ServiceName = Annotated[str, typer.Option(help="Name of the service")]
Name = Annotated[str, typer.Argument(help="NAME or NAME@STAGE")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done")]
Timeout = Annotated[str, typer.Option(help="How long to wait, such as 60s")]


def _scaling(view: DeploymentView) -> str:
    """What load or clock made of the number of replicas, and why."""
    said = next((c.message for c in view.status.conditions if c.type == "Scaled"), "")
    scaling = view.spec.autoscaling
    bounds = f"{scaling.min} to {scaling.max}" if scaling.by_load else ""
    return ", ".join(filter(None, (bounds, scaling.on, scaling.cron, said))) if said else ""


STATUS: list[output.Column] = [
    ("name", lambda v: v.service),
    ("state", lambda v: v.state),
    ("message", lambda v: v.message),
    ("model", lambda v: v.spec.model),
    ("runtime", lambda v: v.spec.runtime),
    ("variant", lambda v: variant.running((r.variant, r.inline) for r in v.status.replicas)),
    ("revision", lambda v: v.revision),
    ("replicas", lambda v: f"{v.status.ready_replicas}/{v.wanted_replicas} ready"),
    ("scaling", _scaling),
    ("priority", lambda v: "" if v.spec.priority == Priority() else v.spec.priority.level),
    ("url", lambda v: v.url),
    *reach.COLUMNS,
    ("warnings", lambda v: "; ".join(v.status.warnings)),
]
ROW: list[output.Column] = [
    ("name", lambda v: v.service),
    ("state", lambda v: v.state),
    ("ready", lambda v: f"{v.status.ready_replicas}/{v.wanted_replicas}"),
    ("model", lambda v: v.spec.model),
    ("revision", lambda v: v.revision),
    ("url", lambda v: v.url),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(spec_options.accepting(deploy))
    app.command()(spec_options.accepting(plan))
    commands = (predict, status, explain, logs, history, metrics, rollback, restart, scale, undeploy)
    for command in commands:
        app.command()(command)


def deploy(
    ref: Ref = "",
    file: SpecFile = None,
    name: ServiceName = "",
    allow_breaking: Annotated[
        bool, typer.Option(help="Also when requests that it answers today would break")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would change and change nothing")] = False,
    wait: Wait = True,
    timeout: Timeout = "180s",
    **options: Any,
) -> None:
    """Make a version answer as a service; deploying again replaces it without losing a request."""
    if dry_run:
        return plan(ref, file, name, **options)
    seconds = files.seconds(timeout, "--timeout")
    with context.client() as client:
        for service, spec in apply_file.wanted(ref, name, file, spec_options.fields(options)):
            view = client.deployments.apply(service, spec, allow_breaking=allow_breaking)
            _announce(_waited(client, view, seconds) if wait else view)


def plan(ref: Ref = "", file: SpecFile = None, name: ServiceName = "", **options: Any) -> None:
    """Say what `deploy` with the same options would change, cost and break; change nothing."""
    with context.client() as client:
        for service, spec in apply_file.wanted(ref, name, file, spec_options.fields(options)):
            plans.show(client.deployments.plan(service, spec))


def predict(
    name: Name,
    data: Annotated[str | None, typer.Option("--data", "-d", help="Rows or inputs as JSON")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="JSON or CSV file; - is stdin")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Send the model's recorded sample")] = False,
    form: Annotated[
        list[str] | None, typer.Option("--form", "-F", help="FIELD=@FILE, FIELD=TEXT, FIELD:=JSON; repeat")
    ] = None,
) -> None:
    """Ask a service. Records give records; arrays or a mapping of inputs give outputs by name."""
    rows = files.given(data, file)
    fields = files.form(form or [])
    if fields and (rows is not None or sample):
        raise typer.BadParameter("give either -F, or one of -d, -f and --sample")
    with context.client() as client:
        if fields:
            return output.data(client.service(name).predict_form(fields))
        service = client.service(name)
        if sample:
            version = client.models.version(service.view.spec.model)
            rows = version.artifacts[0].signature.sample
        if rows is None:
            raise typer.BadParameter("give -d JSON, -f FILE, -F FIELD=@FILE or --sample")
        answer = service.predict_json(rows)
    output.data(answer)


def status(name: Annotated[str, typer.Argument(help="NAME; all when empty")] = "") -> None:
    """State, replicas and addresses of one service or all."""
    with context.client() as client:
        if not name:
            output.rows(client.deployments.list(), ROW)
            return _say_cluster(client.system().cluster)
        view = client.deployments.get(name)
        weights = traffic.in_words([(s.to, s.weight) for s in client.endpoints.get(view.service).shares])
        output.show(view, [*STATUS, ("traffic", lambda _: weights)])


def _say_cluster(cluster: Mapping[str, str]) -> None:
    """Which cluster services run on, and since when it does not answer; nothing on one machine."""
    if not cluster:
        return
    said = f"Kubernetes {cluster.get('version', '?')} at {cluster.get('server', '?')}"
    if cluster.get("reachable") == "no":
        said += (
            f" does not answer since {cluster.get('stale_since', '?')} ({cluster.get('why', '')}); "
            "what is shown is what was known then"
        )
    context.notes().print(said, markup=False, soft_wrap=True)


def explain(name: Name) -> None:
    """Why a service is as it is: the stage that fails, the cause, the remedy."""
    with context.client() as client:
        found = client.deployments.explain(name)
    if context.current().output != "table":
        return output.show(found, [])
    lines = [found.summary]
    for each in found.findings:
        lines += [f"  {each.stage}: {each.reason}: {each.message}", f"    remedy: {each.remedy}"]
    sys.stdout.write("\n".join(lines) + "\n")


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes")] = False,
    tail: Annotated[int, typer.Option(help="Lines per replica to begin with")] = 100,
    replica: Annotated[str, typer.Option(help="Only this replica")] = "",
) -> None:
    """What replicas wrote, merged."""
    with context.client() as client:
        for source, line in client.deployments.logs(name, tail=tail, replica=replica, follow=follow):
            sys.stdout.write(f"[{source}] {line}\n")
            sys.stdout.flush()


def history(name: Name) -> None:
    """All revisions, newest first: what, who, when."""
    columns: list[output.Column] = [
        ("revision", lambda r: r.number),
        ("model", lambda r: r.spec.model),
        ("runtime", lambda r: r.spec.runtime),
        ("reason", lambda r: r.reason),
        ("by", lambda r: r.created_by),
        ("at", lambda r: f"{r.created_at:%Y-%m-%d %H:%M:%S}"),
    ]
    with context.client() as client:
        output.rows(client.deployments.history(name), columns)


def rollback(
    name: Name,
    revision: Annotated[int | None, typer.Option(help="Revision to go back to; else the one before")] = None,
    wait: Wait = True,
    timeout: Timeout = "180s",
) -> None:
    """Run what an earlier revision ran."""
    with context.client() as client:
        changed(client, client.deployments.roll_back(name, revision=revision), wait, timeout)


def restart(name: Name, wait: Wait = True, timeout: Timeout = "180s") -> None:
    """Replace every replica without losing a request."""
    with context.client() as client:
        changed(client, client.deployments.restart(name), wait, timeout)


def scale(
    name: Name,
    replicas: Annotated[int | None, typer.Option(help="How many to keep ready; 0 is offline")] = None,
    minimum: Annotated[
        int | None, typer.Option("--min", help="Fewest by load; 0 sleeps while nobody asks")
    ] = None,
    maximum: Annotated[int | None, typer.Option("--max", help="Most by load")] = None,
    on: Annotated[
        str | None, typer.Option(help="What replicas follow: cpu:50%,mem:50%,gpu:50%,concurrency:8,qps:100")
    ] = None,
    cron: Annotated[str | None, typer.Option(help="Hours and replicas, as 9~21:3,21~9:0")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of the hours, such as Europe/Berlin")] = None,
    idle: Annotated[str | None, typer.Option(help="Sleep after so long without a request, as 5m")] = None,
    priority: Annotated[
        str | None, typer.Option(help="Who gets scarce capacity: low, normal, high, critical")
    ] = None,
    guaranteed: Annotated[int | None, typer.Option(help="Replicas that are never taken away")] = None,
    by: Annotated[
        str | None, typer.Option("--scaled-by", help="Who follows it: auto, platform, cluster")
    ] = None,
    wait: Wait = True,
    timeout: Timeout = "180s",
) -> None:
    """Change the number of replicas, or what decides it; nothing is restarted."""
    said = spec_options.scales(on, minimum, maximum, cron, time_zone, idle, priority, guaranteed, by)
    if replicas is None and not any(said.values()):
        raise typer.BadParameter("say --replicas, or what decides: --min, --max, --on, --cron, --priority, …")
    with context.client() as client:
        changed(client, client.deployments.scale(name, replicas, **said), wait, timeout)


def undeploy(name: Name, wait: Wait = True, timeout: Timeout = "60s") -> None:
    """Take a service offline and forget it; its model stays."""
    with context.client() as client:
        client.undeploy(name, wait=wait, timeout_seconds=files.seconds(timeout, "--timeout"))
    context.notes().print(f"undeployed {name}" if wait else f"undeploying {name}")


def changed(client: Client, view: DeploymentView, wait: bool, timeout: str) -> None:
    """Show what came of a change, once it is done or at once."""
    _announce(_waited(client, view, files.seconds(timeout, "--timeout")) if wait else view)


def _waited(client: Client, view: DeploymentView, seconds: float) -> DeploymentView:
    with context.notes().status(f"waiting for {view.service} …"):
        return client.deployments.wait(view.service, timeout_seconds=seconds)


def _announce(view: DeploymentView) -> None:
    for warning in view.status.warnings:
        context.notes().print(f"warning: {warning}", markup=False)
    output.show(view, STATUS)
