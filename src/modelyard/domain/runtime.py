"""What a runtime is: the environment that a model's code runs in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.model import Format

HOST = "host"
"""The runtime that is the interpreter Modelyard itself runs in."""

AUTO = "auto"
"""In a spec: choose `host` when it matches the version's requirements, else build one."""


class RuntimeKind(StrEnum):
    """What a runtime is for."""

    SERVICE = "service"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSpec:
    """The environment a user or the platform asks for."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    kind: RuntimeKind = RuntimeKind.SERVICE
    """`service` answers predictions and tests; `worker` runs jobs."""
    python: str = ""
    """Interpreter as `3.11`; empty means the one Modelyard runs in."""
    packages: tuple[str, ...] = ()
    """Requirements as in a requirements file."""
    formats: tuple[Format, ...] = ()
    """Formats that it serves; empty means those whose library is among its packages."""
    description: str = ""


class RuntimeState(StrEnum):
    """How far a runtime is."""

    PENDING = "pending"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatus:
    """What the platform found and did."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    state: RuntimeState = RuntimeState.PENDING
    reason: str = ""
    message: str = ""
    interpreter: str = ""
    """Path of the Python program, once ready."""
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    """Installed packages and their versions."""
    lock: str = ""
    """Hash of the resolved requirements; environments with the same lock are shared."""
    observed_generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A named environment of a project; `host` exists in every project."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    name: str
    automatic: bool = False
    """Made by the platform from a version's requirements."""
    spec: RuntimeSpec
    status: RuntimeStatus = field(default_factory=RuntimeStatus)
    generation: int = 1
    created_at: datetime
    deleting: bool = False
