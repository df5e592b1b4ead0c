"""Who may do what: actors, roles, verbs, and the one function that decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire


class Role(StrEnum):
    """What a member is in a project."""

    OWNER = "owner"
    DEVELOPER = "developer"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Verb(StrEnum):
    """What an actor wants to do; every API route states one."""

    READ = "read"
    PUBLISH = "publish"
    """Create, edit and delete models and their versions."""
    TEST = "test"
    """Run a model once, in a process that is gone afterwards."""
    DEPLOY = "deploy"
    """Create, change and delete deployments and runtimes."""
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
