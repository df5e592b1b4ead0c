"""What an event is: one line of the append-only record of what happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from modelyard.domain import wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a resource, who did it, and how it ended."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    id: int = 0
    """Grows with every event; given by the store."""
    at: datetime
    project: str
    kind: str
    """Of the resource: `deployment`, `model`, `project`, `token`, …"""
    name: str
    reason: str
    """A stable CamelCase word such as `Deployed`, `ReplicaFailed`, `Denied`."""
    message: str = ""
    actor: str = ""
    """A user's name, `service:NAME`, or empty for the platform itself."""
