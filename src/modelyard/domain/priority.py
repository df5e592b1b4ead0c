"""Who gets capacity first when there is not enough for everyone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.errors import FieldError, Invalid

PATH = "spec.priority"


class Level(StrEnum):
    """How important a service's replicas are, beyond those that it is guaranteed."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 is served first."""
        return (Level.CRITICAL, Level.HIGH, Level.NORMAL, Level.LOW).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """What a service may keep, and what it has to give, when capacity runs out."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    level: Level = Level.NORMAL
    """A service gives replicas beyond its guaranteed ones to those of a higher level that find no place."""
    guaranteed: int = -1
    """Replicas that it never gives away; -1 is `autoscaling.min` where load decides, else all it wants."""

    def __post_init__(self) -> None:
        if not -1 <= self.guaranteed <= 1000:
            path, message = f"{PATH}.guaranteed", f"must be between 0 and 1000, or -1, got {self.guaranteed}"
            raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
