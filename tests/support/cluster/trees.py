"""Values as JSON has them: copied and compared more quickly than those of any kind."""

from __future__ import annotations

from typing import Any


def copied(value: Any) -> Any:
    """A copy that shares no object or list with the original."""
    kind = type(value)
    if kind is dict:
        return {name: copied(each) for name, each in value.items()}
    if kind is list:
        return [copied(each) for each in value]
    return value


def changes(value: Any, patch: Any) -> bool:
    """Whether a merge patch (RFC 7396) would change anything."""
    if not isinstance(patch, dict):
        return bool(value != patch)
    if not isinstance(value, dict):
        return True
    return any(
        name in value if each is None else name not in value or changes(value[name], each)
        for name, each in patch.items()
    )
