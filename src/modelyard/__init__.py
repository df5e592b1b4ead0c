"""Modelyard turns a trained model into a dependable service; these are the SDK's public names.

They load when first asked for: the inference server lives in this package too and must stay small.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "AsyncClient": "modelyard.client._async.client",
    "AsyncService": "modelyard.client._async.service",
    "Client": "modelyard.client._sync.client",
    "Service": "modelyard.client._sync.service",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'modelyard' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "modelyard.domain.errors")), name)
    globals()[name] = value
    return value
