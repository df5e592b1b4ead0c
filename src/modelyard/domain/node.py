"""What a node is: a machine with capacity, classes and GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import wire


class NodeClass(StrEnum):
    """What a node may be used for."""

    CONTROL = "control"
    COMPUTE = "compute"
    """Validation, tests and jobs."""
    DEPLOY = "deploy"
    """Services."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One physical GPU."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    index: int
    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine that can run replicas."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    classes: tuple[NodeClass, ...] = (NodeClass.CONTROL, NodeClass.COMPUTE, NodeClass.DEPLOY)
    cpu_millis: int
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    enforcement: str = "watched"
    """How memory limits are kept: `cgroup` or `watched`."""
