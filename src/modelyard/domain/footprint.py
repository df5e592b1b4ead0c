"""Footprint: the memory that a worker with a version's model was seen to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import wire

NEWS = 0.1
"""A footprint is recorded anew when it is another by this share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Resident memory of one worker, measured; all 0 before the version was ever deployed."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    loaded_bytes: int = 0
    """Once the model was loaded, the last time that it was."""
    peak_bytes: int = 0
    """The most at any time since, and before."""
    variant: str = ""
    """What answered: `original`, `onnx` or `treelite`."""


def learned(before: Footprint, seen: Footprint) -> Footprint | None:
    """What to record after a worker was seen; None when that says nothing new.

    Another variant's memory says nothing of this one's, so that it begins anew.
    """
    if not seen.loaded_bytes:
        return None
    if before.variant != seen.variant or not before.loaded_bytes:
        return Footprint(
            loaded_bytes=seen.loaded_bytes,
            peak_bytes=max(seen.peak_bytes, seen.loaded_bytes),
            variant=seen.variant,
        )
    after = Footprint(
        loaded_bytes=seen.loaded_bytes,
        peak_bytes=max(before.peak_bytes, seen.peak_bytes, seen.loaded_bytes),
        variant=seen.variant,
    )
    changed = _differ(before.loaded_bytes, after.loaded_bytes) or _differ(before.peak_bytes, after.peak_bytes)
    return after if changed else None


def needed(known: Footprint, variant: str) -> int:
    """Bytes that a worker needs to load, as measured; 0 when that was never measured for this variant."""
    return known.loaded_bytes if known.variant == variant else 0


def _differ(one: int, other: int) -> bool:
    return abs(one - other) > NEWS * one
