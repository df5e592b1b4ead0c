"""What a project is: the tenant that owns models, runtimes and deployments."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import hosts, naming, wire
from modelyard.domain.address import require_external
from modelyard.domain.network import Network
from modelyard.domain.quota import Quota


class Trust(StrEnum):
    """How far a project trusts model files that can run code while they load."""

    NEVER = "never"
    SCAN = "scan"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSpec:
    """What an administrator decides about a project."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    description: str = ""
    """A sentence for people."""
    trust: Trust = Trust.SCAN
    """Pickles: `never` refuses them, `scan` admits what the allow-list knows, `full` admits all."""
    domain: str = ""
    """Its services answer at `NAME.PROJECT.service.DOMAIN`; empty means the installation's."""
    external_ip: str = ""
    """What its clients know the machine by, or `internal|public`; empty means the installation's."""
    quota: Quota = field(default_factory=Quota)
    """What all its replicas may ask for together; administrators only."""
    network: Network = field(default_factory=Network)
    """Who reaches its services past the gateway."""

    def __post_init__(self) -> None:
        if self.domain:
            hosts.require_domain(self.domain, "spec.domain")
        require_external(self.external_ip, "spec.external_ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A tenant; its name is also the route slug in addresses."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    spec: ProjectSpec
    generation: int = 1
    created_at: datetime
    deleting: bool = False

    def __post_init__(self) -> None:
        naming.require_name(self.name, "name")
