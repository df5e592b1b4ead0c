"""Whom a project lets in past the gateway: named by those who may know of them, and forgotten with them."""

from __future__ import annotations

from dataclasses import replace

from modelyard.backends.base import ISOLATION
from modelyard.control import addressing, authorise, kinds, missing
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Resource, Verb, may
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.network import PROJECTS, Reach
from modelyard.domain.project import ProjectSpec
from modelyard.store import Snapshot, Transaction, projects, work

KIND = "project"


async def of(platform: Platform, actor: Actor, project: str) -> Reach:
    """Who reaches the project's services, and how that is enforced here; raises NotFound."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND, name=project)
    async with platform.database.read() as tx:
        found = await projects.get(tx, project)
    if found is None:
        raise missing.project(project)
    network = found.spec.network
    return Reach(
        isolated=network.isolated,
        allow_projects=network.allow_projects,
        allow_namespaces=network.allow_namespaces,
        enforcement=platform.backend.enforcement().get(ISOLATION, "not enforced"),
    )


async def require_known(
    tx: Snapshot, actor: Actor, name: str, *, before: ProjectSpec | None, after: ProjectSpec
) -> None:
    """Raises Invalid when a project lets in itself, or anew one that the actor does not see."""
    known = before.network.allow_projects if before is not None else ()
    for number, other in enumerate(after.network.allow_projects):
        path = f"{PROJECTS}[{number}]"
        if other == name:
            _refuse(path, "is the project itself, whose pods reach one another always; leave it out")
        if other in known:
            continue
        # One answer for both, so that nobody finds out by it what there is.
        if not may(actor, Verb.READ, Resource(project=other)) or await projects.get(tx, other) is None:
            _refuse(path, f"you see no project {other!r}; `modelyard project list` shows those that you do")


async def forget(platform: Platform, tx: Transaction, actor: Actor, gone: str) -> None:
    """Nobody lets in a project any more that is deleted: a later one of its name may be somebody else's."""
    for other in await addressing.all_projects(tx):
        network = other.spec.network
        if gone not in network.allow_projects:
            continue
        kept = tuple(name for name in network.allow_projects if name != gone)
        spec = replace(other.spec, network=replace(network, allow_projects=kept))
        await projects.update(tx, replace(other, spec=spec), expected=other.generation)
        await work.put(tx, kinds.PROJECT, other.name, due_at=platform.clock())
        name, message = other.name, f"network: project {gone} is deleted, and let in no more"
        await authorise.note(
            platform, tx, actor, project=name, kind=KIND, name=name, reason="Changed", message=message
        )


def _refuse(path: str, message: str) -> None:
    raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
