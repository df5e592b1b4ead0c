"""`runtime …`, `project …`, `node …`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from modelyard.cli import context, output
from modelyard.cli.deployments import EVENT
from modelyard.client import options
from modelyard.domain import network, quantity, quota
from modelyard.domain.access import Role
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.network import Network
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
    ("packages", lambda r: r.spec.interpreter or ", ".join(filter(None, (r.spec.image, *r.spec.packages)))),
    ("message", lambda r: r.status.message),
]
_PROJECT: list[output.Column] = [
    ("name", lambda p: p.name),
    ("trust", lambda p: p.spec.trust),
    ("domain", lambda p: p.spec.domain),
    ("external ip", lambda p: p.spec.external_ip),
    ("quota", lambda p: quota.write(p.spec.quota)),
    ("network", lambda p: network.write(p.spec.network)),
    ("description", lambda p: p.spec.description),
]
_USE: list[output.Column] = [
    ("what", lambda u: u.name),
    ("used", lambda u: u.used),
    ("of", lambda u: u.limit or "no limit"),
]
_REACH: list[output.Column] = [
    ("isolated", lambda r: "yes" if r.isolated else "no"),
    ("lets in projects", lambda r: ", ".join(r.allow_projects)),
    ("lets in namespaces", lambda r: ", ".join(r.allow_namespaces)),
    ("enforced", lambda r: r.enforcement),
]
_MEMBER: list[output.Column] = [("user", lambda m: m.user), ("role", lambda m: m.role)]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(runtimes, name="runtime")
    app.add_typer(projects, name="project")
    app.add_typer(nodes, name="node")
    app.command("queue")(list_queue)


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
    image: Annotated[
        str, typer.Option(help="Container image with Modelyard's own server, where replicas are containers")
    ] = "",
    description: Annotated[str, typer.Option(help="A sentence for people")] = "",
) -> None:
    """Define a runtime; building begins at once."""
    if not package and not interpreter and not image:
        message = "give --package, or --interpreter or --image for an environment that is there"
        raise Invalid(f"--package: {message}", errors=[FieldError("--package", message)])
    given = {
        "packages": tuple(package or ()),
        "python": python,
        "kind": kind,
        "interpreter": interpreter,
        "image": image,
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
    quota_: Annotated[
        str, typer.Option("--quota", help="All its replicas: cpu=8,memory=32Gi,gpus=2,replicas=20,tasks=2")
    ] = "",
    isolated: Annotated[bool, typer.Option("--isolated", help="Let in nobody past the gateway")] = False,
) -> None:
    """Create a project, or change it."""
    said = {"description": description, "trust": trust, "domain": domain, "external_ip": external_ip}
    spec = options.build(ProjectSpec, said)
    spec = replace(spec, quota=quota.parse(quota_), network=Network(isolated=isolated))
    with context.client() as client:
        output.show(client.projects.apply(name, spec), _PROJECT)


@projects.command("delete")
def delete_project(name: str) -> None:
    """Delete an empty project."""
    with context.client() as client:
        client.projects.delete(name)
    context.notes().print(f"deleted {name}")


@projects.command("quota")
def show_quota(
    name: str,
    set_: Annotated[
        str,
        typer.Option(
            "--set", help="cpu=8,memory=32Gi,gpus=2,replicas=20,tasks=2 or none; administrators only"
        ),
    ] = "",
) -> None:
    """What its services want, of what it may have; `--set` changes that, and nothing that runs is stopped."""
    with context.client() as client:
        if set_:
            spec = replace(client.projects.get(name).spec, quota=quota.parse(set_))
            client.projects.apply(name, spec)
        output.rows(client.projects.quota(name), _USE)


@projects.command("network")
def show_network(
    name: str,
    isolated: Annotated[
        bool | None, typer.Option("--isolated/--open", help="Let in nobody past the gateway, or everybody")
    ] = None,
    allow_project: Annotated[
        list[str] | None, typer.Option(help="PROJECT to let in all the same; may be repeated")
    ] = None,
    allow_namespace: Annotated[
        list[str] | None, typer.Option(help="Namespace of the cluster to let in, such as monitoring")
    ] = None,
    deny_project: Annotated[list[str] | None, typer.Option(help="PROJECT to let in no more")] = None,
    deny_namespace: Annotated[list[str] | None, typer.Option(help="Namespace to let in no more")] = None,
) -> None:
    """Who reaches its services past the gateway, and how that is enforced; options change it."""
    given = (allow_project, allow_namespace, deny_project, deny_namespace)
    with context.client() as client:
        if isolated is not None or any(given):
            before = client.projects.get(name)
            wish = Network() if isolated is False else before.spec.network
            wish = Network(
                isolated=wish.isolated or bool(isolated),
                allow_projects=_listed(wish.allow_projects, allow_project, deny_project, "project"),
                allow_namespaces=_listed(wish.allow_namespaces, allow_namespace, deny_namespace, "namespace"),
            )
            client.projects.apply(name, replace(before.spec, network=wish))
        output.show(client.projects.network(name), _REACH)


def _listed(
    before: tuple[str, ...], allow: list[str] | None, deny: list[str] | None, what: str
) -> tuple[str, ...]:
    """A list with what is added and without what is taken out, which must be there."""
    for name in deny or ():
        if name not in before:
            message = f"{what} {name!r} is not let in; `modelyard project network` shows who is"
            raise Invalid(f"--deny-{what}: {message}", errors=(FieldError(f"--deny-{what}", message),))
    kept = [name for name in before if name not in (deny or ())]
    return tuple(dict.fromkeys((*kept, *(allow or ()))))


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


_QUEUED: list[output.Column] = [
    ("position", lambda q: q.position or "-"),
    ("state", lambda q: q.state),
    ("project", lambda q: q.project),
    ("what", lambda q: f"{q.kind} {q.subject}".strip()),
    ("priority", lambda q: q.level),
    ("since", lambda q: f"{q.since:%H:%M:%S}"),
    ("why", lambda q: q.why or ("in a borrowed place" if q.borrows else "")),
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


def list_queue() -> None:
    """Models that are validated and tested now, and those that wait for their turn, with why."""
    with context.client() as client:
        output.rows(client.accounts.queue(), _QUEUED)


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
