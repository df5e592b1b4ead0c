"""Modelyard turns a trained model into a dependable service; these are the SDK's public names."""

from modelyard.client._async.client import AsyncClient
from modelyard.client._async.service import AsyncService
from modelyard.client._sync.client import Client
from modelyard.client._sync.service import Service
from modelyard.domain.errors import (
    BackendError,
    Conflict,
    Forbidden,
    Invalid,
    ModelyardError,
    NotFound,
    Refused,
    TimedOut,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncService",
    "BackendError",
    "Client",
    "Conflict",
    "Forbidden",
    "Invalid",
    "ModelyardError",
    "NotFound",
    "Refused",
    "Service",
    "TimedOut",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "__version__",
]
