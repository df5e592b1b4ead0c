"""Who may do what: actors, roles, verbs, and the one function that decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.errors import Forbidden, Unauthenticated


class Role(StrEnum):
    """What a member is in a project."""

    OWNER = "owner"
    DEVELOPER = "developer"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Verb(StrEnum):
    """What an actor wants to do; every API route states one."""

    READ = "read"
    """See what there is and how it does, without secrets and logs."""
    PUBLISH = "publish"
    """Create, edit and delete models and their versions."""
    TEST = "test"
    """Run a model once, in a process that is gone afterwards."""
    DEPLOY = "deploy"
    """Create, change and delete deployments and runtimes."""
    SECRET = "secret"  # noqa: S105 - what may be done, not a secret
    """Set and delete secrets, whose values nobody reads back; to use them in a deployment needs no more."""
    OPERATE = "operate"
    """Scale, restart, roll back, read logs."""
    INFER = "infer"
    """Call a service, and read the token that opens it."""
    GRANT = "grant"
    """Change members and settings of a project."""
    ADMINISTER = "administer"
    """Users, projects, nodes, the platform."""
    SELF = "self"
    """What every authenticated actor may do with their own account."""
    ANYONE = "anyone"
    """Open to all: health, login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody who asks."""

    name: str
    """Empty for a caller who did not authenticate."""
    administrator: bool = False
    roles: dict[str, Role] = field(default_factory=dict)
    """Project to role."""
    scope: frozenset[Verb] | None = None
    """What the token in use is limited to; None is everything its user may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What is asked about."""

    project: str = ""
    """Empty for what belongs to the platform."""
    owner: str = ""
    """For personal things such as tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or program with an account."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    administrator: bool = False
    disabled: bool = False
    generation: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A user's role in a project."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    user: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A user's token as the platform remembers it; the secret itself is never stored."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    id: str
    user: str
    description: str = ""
    scope: tuple[Verb, ...] = ()
    """Empty is everything its user may do."""
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked: bool = False


_OPERATOR = frozenset({Verb.READ, Verb.OPERATE, Verb.INFER, Verb.TEST})
_DEVELOPER = _OPERATOR | {Verb.PUBLISH, Verb.DEPLOY, Verb.SECRET}

PERMITTED: dict[Role, frozenset[Verb]] = {
    Role.VIEWER: frozenset({Verb.READ}),
    Role.OPERATOR: _OPERATOR,
    Role.DEVELOPER: _DEVELOPER,
    Role.OWNER: _DEVELOPER | {Verb.GRANT},
}
"""What each role may do in its project."""


def may(actor: Actor, verb: Verb, resource: Resource) -> bool:
    """Whether the actor may do this; a token's scope narrows what its user may, administrators' too."""
    if verb is Verb.ANYONE:
        return True
    if not actor.name or (actor.scope is not None and verb not in actor.scope):
        return False
    if actor.administrator:
        return True
    if verb is Verb.SELF:
        return resource.owner in ("", actor.name)
    if not resource.project:
        return verb is Verb.READ
    role = actor.roles.get(resource.project)
    return role is not None and verb in PERMITTED[role]


def require(actor: Actor, verb: Verb, resource: Resource) -> None:
    """Nothing when the actor may; else raises Unauthenticated or Forbidden, with what would help."""
    if may(actor, verb, resource):
        return
    if not actor.name:
        raise Unauthenticated(
            "no valid token came with the request; log in with `modelyard login`, "
            "or send one as `Authorization: Bearer TOKEN`"
        )
    if actor.scope is not None and verb not in actor.scope:
        scope = ", ".join(sorted(actor.scope)) or "nothing"
        raise Forbidden(f"this token is limited to {scope}; use one whose scope has `{verb}`")
    raise Forbidden(_refusal(actor, verb, resource))


def _refusal(actor: Actor, verb: Verb, resource: Resource) -> str:
    """Why a named actor may not, and whom to ask."""
    if verb is Verb.SELF:
        return f"{actor.name} may not change what belongs to somebody else; ask an administrator"
    roles = [role.value for role, verbs in PERMITTED.items() if verb in verbs]
    if not resource.project or not roles:
        return f"{actor.name} may not {verb} the platform; ask an administrator"
    return (
        f"{actor.name} may not {verb} in project {resource.project}; "
        f"ask one of its owners for the role {' or '.join(roles)}"
    )
