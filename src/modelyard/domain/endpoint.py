"""What an endpoint is: the names under which clients reach a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Every way to reach one service through the front door."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    host: str
    """Such as `churn.service.localhost`; the port of the front door is not part of it."""
    path: str
    """Such as `/services/default/churn`."""
    alias: str = ""
    """Such as `/v2/models/churn`; only for production services of the default project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one service answers, with its requests since the gateway started."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    service: str
    """Within its project: `churn`, `churn@test`."""
    url: str
    addresses: Addresses
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One replica that takes part of a route's requests."""

    replica: str
    address: str
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A token that opens a route, as its hash."""

    sha256: str
    """Hex digest of the token."""
    subject: str
    expires_at: int = 0
    """Seconds since the epoch; 0 means never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One service as the gateway should serve it."""

    name: str
    """`project/service`, such as `default/churn` or `default/churn@test`."""
    service: str
    """The model name a replica answers to."""
    addresses: Addresses
    targets: tuple[Target, ...]
    """Ready replicas only; empty means 503 with a reason."""
    keys: tuple[AccessKey, ...]
    public: bool = False
    """No token is needed."""
    timeout_seconds: float = 60.0
