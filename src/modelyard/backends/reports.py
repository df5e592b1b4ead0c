"""Reads what a serving front says of itself, wherever it was read; anything odd counts as nothing said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.domain.deployment import Failure


def failure(state: Mapping[str, Any] | None, name: str) -> Failure | None:
    """The failure that stands under this name."""
    said = (state or {}).get(name)
    if not isinstance(said, dict) or not isinstance(said.get("reason"), str):
        return None
    return Failure(reason=said["reason"], message=str(said.get("message") or ""))


def count(state: Mapping[str, Any], name: str) -> int:
    """A number of the front; 0 when it says none."""
    value = state.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def of_model(state: Mapping[str, Any], name: str) -> int:
    """A number of the front's one model; a front of several says nothing of one version."""
    models = state.get("models")
    said = models[0] if isinstance(models, list) and len(models) == 1 else None
    return count(said, name) if isinstance(said, dict) else 0
