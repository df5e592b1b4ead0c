"""Merge patches (RFC 7396) of specs."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def patched(spec: T, changes: dict[str, Any]) -> T:
    """The spec with the changes merged in; null takes the default again."""
    kind: Any = type(spec)
    adapter: TypeAdapter[T] = _adapter(kind)
    try:
        return adapter.validate_python(_merge(adapter.dump_python(spec, mode="json"), changes))
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _merge(target: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    base = target if isinstance(target, dict) else {}
    merged = {name: value for name, value in base.items() if changes.get(name, value) is not None}
    for name, value in changes.items():
        if value is not None:
            merged[name] = _merge(base.get(name), value)
    return merged
