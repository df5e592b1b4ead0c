"""What the API answers where it says more than the stored resource does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import scaling, wire
from modelyard.domain.deployment import Deployment, DeploymentSpec, DeploymentStatus, Stage
from modelyard.domain.endpoint import Addresses


class State(StrEnum):
    """A deployment's condition in one word."""

    OFFLINE = "Offline"
    ASLEEP = "Asleep"
    """It has no replica because nobody asks it; the next request wakes it."""
    PENDING = "Pending"
    STARTING = "Starting"
    ROLLING_OUT = "RollingOut"
    """All is well, and a new revision is being judged."""
    RUNNING = "Running"
    DEGRADED = "Degraded"
    FAILED = "Failed"
    DELETING = "Deleting"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A deployment with its addresses, its state in one word, and on request its token."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    name: str
    stage: Stage
    id: int
    generation: int
    revision: int
    spec: DeploymentSpec
    status: DeploymentStatus
    created_at: datetime
    created_by: str
    deleting: bool
    state: State
    message: str = ""
    """One sentence for people: what it waits for or why it failed."""
    url: str = ""
    """Address by path, through the front door."""
    addresses: Addresses
    token: str = ""
    """Opens this service; only where the answer says it carries one."""
    wanted_replicas: int = 0
    """How many there should be now: `spec.replicas`, or what load, clock or a shortage make of it."""

    @property
    def service(self) -> str:
        """The name within the project: `churn`, `churn@test`."""
        return self.name if self.stage is Stage.PRODUCTION else f"{self.name}@{self.stage.value}"


def view(
    deployment: Deployment, *, state: State, message: str, url: str, addresses: Addresses, token: str = ""
) -> DeploymentView:
    """The answer for one deployment."""
    return DeploymentView(
        project=deployment.project,
        name=deployment.name,
        stage=deployment.stage,
        id=deployment.id,
        generation=deployment.generation,
        revision=deployment.revision,
        spec=deployment.spec,
        status=deployment.status,
        created_at=deployment.created_at,
        created_by=deployment.created_by,
        deleting=deployment.deleting,
        state=state,
        message=message,
        url=url,
        addresses=addresses,
        token=token,
        wanted_replicas=scaling.wanted(deployment),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What a model answered in a process of its own that is gone again."""

    __test__ = False
    __pydantic_config__: ClassVar[Any] = wire.OPEN

    outputs: dict[str, list[Any]]
    stdout: str = ""
    stderr: str = ""
    device: str = ""
    """Such as `ONNX Runtime device: CPU`."""
    runtime: str = ""
    duration_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What this installation is."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    version: str
    url: str
    https_url: str = ""
    """The front door over TLS; empty without an HTTPS port."""
    domain: str
    backend: str
    enforcement: dict[str, str] = field(default_factory=dict)
    """What this mode enforces and how; what it cannot enforce says `not enforced`."""
    cluster: dict[str, str] = field(default_factory=dict)
    """Of the cluster: server, version, whether it answers, else since when not; empty on one machine."""
