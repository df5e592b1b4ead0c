"""Projects: list, show, create, change, delete."""

from __future__ import annotations

from dataclasses import replace

from modelyard.control import authorise, division, kinds, missing, reach
from modelyard.control.platform import Platform
from modelyard.control.preconditions import require_generation
from modelyard.domain import network, quota
from modelyard.domain.access import Actor, Verb
from modelyard.domain.errors import Conflict
from modelyard.domain.project import Project, ProjectSpec, Trust
from modelyard.store import Page, Transaction, deployments, models, runtimes, secrets, work
from modelyard.store import projects as store

KIND = "project"
DEFAULT = "default"
"""The project that always exists."""


async def list(platform: Platform, actor: Actor, *, limit: int = 100, after: str = "") -> Page[Project]:
    """The projects that the actor may see, by name."""
    await authorise.in_project(platform, actor, Verb.READ, "", kind=KIND)
    async with platform.database.read() as tx:
        if actor.administrator:
            return await store.list(tx, limit=limit, after=after)
        mine = sorted(name for name in actor.roles if name > after)
        found = [await store.get(tx, name) for name in mine[:limit]]
    return Page(tuple(p for p in found if p), mine[limit - 1] if len(mine) > limit else "")


async def get(platform: Platform, actor: Actor, name: str) -> Project:
    """One project; raises NotFound."""
    await authorise.in_project(platform, actor, Verb.READ, name, kind=KIND, name=name)
    async with platform.database.read() as tx:
        found = await store.get(tx, name)
    if found is None:
        raise missing.project(name)
    return found


async def create(platform: Platform, actor: Actor, name: str, spec: ProjectSpec) -> Project:
    """A new project; raises Conflict when the name is taken. Administrators only."""
    await authorise.administrator(platform, actor, kind=KIND, name=name)
    async with platform.database.begin() as tx:
        await reach.require_known(tx, actor, name, before=None, after=spec)
        return await _insert(platform, tx, actor, Project(name=name, spec=spec, created_at=platform.at()))


async def apply(
    platform: Platform, actor: Actor, name: str, spec: ProjectSpec, *, expected: int | None = None
) -> Project:
    """Create or replace. Owners may change their project; trusting every file is for administrators, and so
    are names and addresses of the machine and quotas.

    With `expected`, raises Conflict unless the generation is that.
    """
    await authorise.in_project(platform, actor, Verb.GRANT, name, kind=KIND, name=name)
    async with platform.database.read() as tx:
        before = await store.get(tx, name)
    if before is None or _is_for_administrators(before.spec, spec):
        await authorise.administrator(platform, actor, kind=KIND, name=name)
    require_generation("the project", before, expected)
    async with platform.database.begin() as tx:
        await reach.require_known(tx, actor, name, before=before.spec if before else None, after=spec)
        if before is None:
            return await _insert(platform, tx, actor, Project(name=name, spec=spec, created_at=platform.at()))
        # What the actor may change was judged by what it was: what somebody else made of it meanwhile stays.
        changed = await store.update(tx, replace(before, spec=spec), expected=before.generation)
        message = _changed(before.spec, spec)
        await authorise.note(
            platform, tx, actor, project=name, kind=KIND, name=name, reason="Changed", message=message
        )
        concerned = await _announce(platform, tx, name)
    platform.sites.learn([changed])
    for kind, key in concerned:
        platform.hint(kind, key)
    return changed


async def delete(platform: Platform, actor: Actor, name: str) -> None:
    """Forget an empty project; raises Conflict while it has models, runtimes, secrets or deployments."""
    await authorise.administrator(platform, actor, kind=KIND, name=name)
    if name == DEFAULT:
        raise Conflict("the project `default` always exists; delete what is in it instead")
    async with platform.database.begin() as tx:
        if await store.get(tx, name) is None:
            raise missing.project(name)
        await _require_empty(tx, name)
        await store.delete(tx, name)
        await reach.forget(platform, tx, actor, name)
        await work.put(tx, kinds.PROJECT, name, due_at=platform.clock())
        await authorise.note(platform, tx, actor, project=name, kind=KIND, name=name, reason="Deleted")


async def ensure_default(platform: Platform) -> None:
    """Make the default project on the first start."""
    async with platform.database.begin() as tx:
        if await store.get(tx, DEFAULT) is None:
            first = Project(name=DEFAULT, spec=ProjectSpec(), created_at=platform.at())
            await _insert(platform, tx, None, first)


def _changed(before: ProjectSpec, after: ProjectSpec) -> str:
    """What is said of a change."""
    said = [f"trust {after.trust}"]
    if before.quota != after.quota:
        said.append(f"quota {quota.write(after.quota) or 'none'}")
    if before.network != after.network:
        said.append(f"network {network.write(after.network) or 'open'}")
    return "; ".join(said)


def _is_for_administrators(before: ProjectSpec, after: ProjectSpec) -> bool:
    trusting = after.trust is Trust.FULL and before.trust is not Trust.FULL
    kept = (before.domain, before.external_ip, before.quota)
    return trusting or kept != (after.domain, after.external_ip, after.quota)


async def _announce(platform: Platform, tx: Transaction, name: str) -> tuple[tuple[str, str], ...]:
    """Have everything looked at that a project's spec decides about."""
    concerned = (
        (kinds.GATEWAY, kinds.ALL),
        (kinds.PROJECT, name),
        *((kinds.DEPLOYMENT, str(each.key)) for each in await division.present(tx, name)),
    )
    for kind, key in concerned:
        await work.put(tx, kind, key, due_at=platform.clock())
    return concerned


async def _insert(platform: Platform, tx: Transaction, actor: Actor | None, project: Project) -> Project:
    await store.insert(tx, project)
    platform.sites.learn([project])
    name = project.name
    await work.put(tx, kinds.PROJECT, name, due_at=platform.clock())
    await authorise.note(platform, tx, actor, project=name, kind=KIND, name=name, reason="Created")
    return project


async def _require_empty(tx: Transaction, name: str) -> None:
    left = {
        "models": (await models.list(tx, name, limit=1)).items,
        "deployments": (await deployments.list(tx, name, limit=1)).items,
        "runtimes": (await runtimes.list(tx, name, limit=1)).items,
        "secrets": (await secrets.list(tx, name, limit=1)).items,
    }
    full = [what for what, some in left.items() if some]
    if full:
        raise Conflict(f"project {name!r} still has {' and '.join(full)}; delete them first")
