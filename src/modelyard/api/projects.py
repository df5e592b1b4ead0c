"""Projects and their members."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from fastapi import APIRouter

from modelyard.api.answers import Items, everything, page
from modelyard.api.idempotency import Idempotent
from modelyard.api.request import ActorDep, ExpectedDep, PagingDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import members, projects, quotas, reach
from modelyard.domain import wire
from modelyard.domain.access import Member, Role, Verb
from modelyard.domain.network import Reach
from modelyard.domain.project import Project, ProjectSpec
from modelyard.domain.quota import Use

router = APIRouter(prefix="/projects", tags=["projects"], route_class=Idempotent)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """A project to create."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    name: str
    """DNS-1123 label; also the slug in addresses."""
    spec: ProjectSpec = field(default_factory=ProjectSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The role to give."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    role: Role


@router.get("", openapi_extra=states(Verb.READ))
async def list_projects(platform: PlatformDep, actor: ActorDep, paging: PagingDep) -> Items[Project]:
    """Every project that the caller may see."""
    return page(await projects.list(platform, actor, limit=paging.limit, after=paging.after))


@router.post("", status_code=201, openapi_extra=states(Verb.ADMINISTER))
async def create_project(platform: PlatformDep, actor: ActorDep, body: NewProject) -> Project:
    """Create a project."""
    return await projects.create(platform, actor, body.name, body.spec)


@router.get("/{project}", openapi_extra=states(Verb.READ))
async def get_project(platform: PlatformDep, actor: ActorDep, project: str) -> Project:
    """One project."""
    return await projects.get(platform, actor, project)


@router.put("/{project}", openapi_extra=states(Verb.GRANT))
async def apply_project(
    platform: PlatformDep, actor: ActorDep, project: str, body: ProjectSpec, expected: ExpectedDep
) -> Project:
    """Create or replace a project."""
    return await projects.apply(platform, actor, project, body, expected=expected)


@router.delete("/{project}", status_code=204, openapi_extra=states(Verb.ADMINISTER))
async def delete_project(platform: PlatformDep, actor: ActorDep, project: str) -> None:
    """Delete an empty project."""
    await projects.delete(platform, actor, project)


@router.get("/{project}/quota", openapi_extra=states(Verb.READ))
async def get_quota(platform: PlatformDep, actor: ActorDep, project: str) -> Items[Use]:
    """How much of everything the project may have, and how much of it its services want."""
    return everything(await quotas.uses(platform, actor, project))


@router.get("/{project}/network", openapi_extra=states(Verb.READ))
async def get_network(platform: PlatformDep, actor: ActorDep, project: str) -> Reach:
    """Who reaches the project's services past the gateway, and how that is enforced."""
    return await reach.of(platform, actor, project)


@router.get("/{project}/members", openapi_extra=states(Verb.READ))
async def list_members(platform: PlatformDep, actor: ActorDep, project: str) -> Items[Member]:
    """Who is in a project, and as what."""
    return everything(await members.list(platform, actor, project))


@router.put("/{project}/members/{user}", openapi_extra=states(Verb.GRANT))
async def put_member(
    platform: PlatformDep, actor: ActorDep, project: str, user: str, body: Membership
) -> Member:
    """Give a user a role in a project."""
    return await members.put(platform, actor, project, user, body.role)


@router.delete("/{project}/members/{user}", status_code=204, openapi_extra=states(Verb.GRANT))
async def delete_member(platform: PlatformDep, actor: ActorDep, project: str, user: str) -> None:
    """Take a user out of a project."""
    await members.remove(platform, actor, project, user)
