"""Merge patches (RFC 7396) of specs."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from modelyard.domain.deployment import DeploymentSpec

_SPEC = TypeAdapter(DeploymentSpec)


def patched(spec: DeploymentSpec, changes: dict[str, Any]) -> DeploymentSpec:
    """The spec with the changes merged in; null takes the default again."""
    try:
        return _SPEC.validate_python(_merge(_SPEC.dump_python(spec, mode="json"), changes))
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def _merge(target: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    base = target if isinstance(target, dict) else {}
    merged = {name: value for name, value in base.items() if changes.get(name, value) is not None}
    for name, value in changes.items():
        if value is not None:
            merged[name] = _merge(base.get(name), value)
    return merged
