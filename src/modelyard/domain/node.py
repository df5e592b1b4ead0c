"""What a node is: a machine with capacity, classes and GPUs."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    holder: str = ""
    """Whose replica has it: `default/churn`; empty for nobody's that the platform knows of."""


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
    ready: bool = True
    """Whether it takes replicas now."""
    reason: str = ""
    """Why it takes none, or what it runs short of."""
    labels: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    """What it gives out of divided GPUs: amounts by name, such as `nvidia.com/mig-1g.10gb`."""
    reserved_cpu_millis: int = 0
    """What the platform's replicas on it have reserved."""
    reserved_memory_bytes: int = 0
    replicas: tuple[str, ...] = ()
    """The platform's replicas on it: `default/churn/churn-ab12`."""
