"""Members of a project: who is in it, and as what."""

from __future__ import annotations

from modelyard.control import authorise, kinds, missing
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Member, Role, Verb
from modelyard.domain.errors import NotFound
from modelyard.store import members as store
from modelyard.store import projects, users, work

KIND = "member"


async def list(platform: Platform, actor: Actor, project: str) -> tuple[Member, ...]:
    """The project's members by name."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND)
    async with platform.database.read() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        return await store.list(tx, project=project)


async def put(platform: Platform, actor: Actor, project: str, user: str, role: Role) -> Member:
    """Give a user this role; raises NotFound when there is no such project or user."""
    await authorise.in_project(platform, actor, Verb.GRANT, project, kind=KIND, name=user)
    member = Member(project=project, user=user, role=role)
    async with platform.database.begin() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        if await users.get(tx, user) is None:
            raise missing.user(user)
        await store.put(tx, member)
        await authorise.note(
            platform, tx, actor, project=project, kind=KIND, name=user, reason="Granted", message=role.value
        )
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)
    return member


async def remove(platform: Platform, actor: Actor, project: str, user: str) -> None:
    """Take a user out of the project; raises NotFound for one who is not in it."""
    await authorise.in_project(platform, actor, Verb.GRANT, project, kind=KIND, name=user)
    async with platform.database.begin() as tx:
        if not await store.delete(tx, project, user):
            raise NotFound(f"{user!r} is not a member of project {project!r}")
        await authorise.note(platform, tx, actor, project=project, kind=KIND, name=user, reason="Removed")
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)
