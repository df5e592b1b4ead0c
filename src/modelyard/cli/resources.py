"""`runtime …`, `project …`, `node …`."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli import context, output
from modelyard.cli.deployments import EVENT
from modelyard.client import options
from modelyard.domain import quantity
from modelyard.domain.access import Role
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.node import Gpu, Node
from modelyard.domain.project import ProjectSpec
from modelyard.domain.runtime import RuntimeSpec

runtimes = typer.Typer(no_args_is_help=True, help="Environments that models run in.")
projects = typer.Typer(no_args_is_help=True, help="Projects, their members and events.")
nodes = typer.Typer(no_args_is_help=True, help="Machines.")
_RUNTIME: list[output.Column] = [
    ("name", lambda r: r.name),
    ("state", lambda r: r.status.state),
    ("kind", lambda r: r.spec.kind),
    ("python", lambda r: r.status.python or r.spec.python),
    ("automatic", lambda r: "yes" if r.automatic else ""),
    ("packages", lambda r: r.spec.interpreter or ", ".join(r.spec.packages)),
    ("message", lambda r: r.status.message),
]
_PROJECT: list[output.Column] = [
    ("name", lambda p: p.name),
    ("trust", lambda p: p.spec.trust),
    ("domain", lambda p: p.spec.domain),
    ("external ip", lambda p: p.spec.external_ip),
    ("description", lambda p: p.spec.description),
]
_MEMBER: list[output.Column] = [("user", lambda m: m.user), ("role", lambda m: m.role)]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(runtimes, name="runtime")
    app.add_typer(projects, name="project")
    app.add_typer(nodes, name="node")


@runtimes.command("list")
def list_runtimes() -> None:
    """All runtimes of the project."""
    with context.client() as client:
        output.rows(client.runtimes.list(), _RUNTIME)


@runtimes.command("show")
def show_runtime(name: str) -> None:
    """One runtime with what is installed in it."""
    with context.client() as client:
        output.show(client.runtimes.get(name), _RUNTIME)


@runtimes.command("create")
def create_runtime(
    name: str,
    package: Annotated[
        list[str] | None, typer.Option(help="Requirement such as scikit-learn==1.5.2; repeat")
    ] = None,
    python: Annotated[str, typer.Option(help="Interpreter such as 3.11")] = "",
    kind: Annotated[str, typer.Option(help="service or worker")] = "service",
    interpreter: Annotated[
        str, typer.Option(help="Python program on this machine, used with its packages; administrators only")
    ] = "",
    description: Annotated[str, typer.Option(help="A sentence for people")] = "",
) -> None:
    """Define a runtime; building begins at once."""
    if not package and not interpreter:
        message = "give --package, or --interpreter for an environment that is there"
        raise Invalid(f"--package: {message}", errors=[FieldError("--package", message)])
    given = {
        "packages": tuple(package or ()),
        "python": python,
        "kind": kind,
        "interpreter": interpreter,
        "description": description,
    }
    with context.client() as client:
        output.show(client.runtimes.apply(name, options.build(RuntimeSpec, given)), _RUNTIME)


@runtimes.command("build")
def build_runtime(name: str) -> None:
    """Build again after a failure."""
    with context.client() as client:
        output.show(client.runtimes.build(name), _RUNTIME)


@runtimes.command("delete")
def delete_runtime(name: str) -> None:
    """Forget a runtime; refused while a service uses it."""
    with context.client() as client:
        client.runtimes.delete(name)
    context.notes().print(f"deleted {name}")


@projects.command("list")
def list_projects() -> None:
    """Every project that you may see."""
    with context.client() as client:
        output.rows(client.projects.list(), _PROJECT)


@projects.command("show")
def show_project(name: str) -> None:
    """One project."""
    with context.client() as client:
        output.show(client.projects.get(name), _PROJECT)


@projects.command("create")
def create_project(
    name: str,
    description: Annotated[str, typer.Option(help="A sentence for people")] = "",
    trust: Annotated[str, typer.Option(help="Model files that can run code: never, scan or full")] = "scan",
    domain: Annotated[str, typer.Option(help="Services answer at NAME.PROJECT.service.DOMAIN")] = "",
    external_ip: Annotated[
        str, typer.Option(help="What clients know the machine by, or internal|public")
    ] = "",
) -> None:
    """Create a project, or change it."""
    said = {"description": description, "trust": trust, "domain": domain, "external_ip": external_ip}
    spec = options.build(ProjectSpec, said)
    with context.client() as client:
        output.show(client.projects.apply(name, spec), _PROJECT)


@projects.command("delete")
def delete_project(name: str) -> None:
    """Delete an empty project."""
    with context.client() as client:
        client.projects.delete(name)
    context.notes().print(f"deleted {name}")


@projects.command("members")
def members(
    name: str,
    set_: Annotated[str, typer.Option("--set", help="USER=owner|developer|operator|viewer")] = "",
    remove: Annotated[str, typer.Option(help="USER to take out")] = "",
) -> None:
    """Who is in a project; `--set` and `--remove` change it."""
    with context.client() as client:
        if set_:
            user, _, role = set_.partition("=")
            client.projects.set_member(name, user, options.build_enum(Role, role, "--set"))
        if remove:
            client.projects.remove_member(name, remove)
        output.rows(client.projects.members(name), _MEMBER)


@projects.command("events")
def events(name: str, limit: Annotated[int, typer.Option(help="How many")] = 50) -> None:
    """What happened in a project, newest first."""
    with context.client() as client:
        output.rows(client.projects.events(name, limit=limit), EVENT)


_NODE: list[output.Column] = [
    ("name", lambda n: n.name),
    ("classes", lambda n: ",".join(n.classes)),
    ("ready", lambda n: n.reason or ("yes" if n.ready else "no")),
    ("cpu", lambda n: f"{n.reserved_cpu_millis / 1000:g} of {n.cpu_millis / 1000:g}"),
    (
        "memory",
        lambda n: (
            f"{quantity.format_memory(n.reserved_memory_bytes)} of {quantity.format_memory(n.memory_bytes)}"
        ),
    ),
    ("gpus", lambda n: ", ".join(_card(g) for g in n.gpus) or _parts(n)),
    ("memory limits", lambda n: n.enforcement),
]


@nodes.command("list")
def list_nodes() -> None:
    """Machines with what is reserved of them, and their GPUs."""
    with context.client() as client:
        output.rows(client.accounts.nodes(), _NODE)


@nodes.command("show")
def show_node(name: str) -> None:
    """One machine: its labels, its replicas, and who holds which GPU."""
    more: list[output.Column] = [
        ("replicas", lambda n: ", ".join(n.replicas) or "none"),
        ("labels", lambda n: ", ".join(f"{key}={value}" for key, value in n.labels.items()) or "none"),
    ]
    with context.client() as client:
        output.show(client.accounts.node(name), [*_NODE, *more])


@nodes.command("label")
def label_node(
    name: str,
    classes: Annotated[str, typer.Option("--class", help="control, compute, deploy, or several with commas")],
) -> None:
    """Say what a machine of a cluster may be used for; what runs on it stays."""
    wanted = [each.strip() for each in classes.split(",") if each.strip()]
    with context.client() as client:
        output.show(client.accounts.classify_node(name, *wanted), _NODE)


def _card(gpu: Gpu) -> str:
    return f"{gpu.name} ({gpu.holder or 'free'})"


def _parts(node: Node) -> str:
    return ", ".join(f"{amount} {name}" for name, amount in node.parts.items()) or "none"
