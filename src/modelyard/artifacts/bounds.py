"""How much one upload may bring."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of one upload, archives unpacked."""

    max_bytes: int = 50 * GIB
    """Bytes of all files together."""
    max_files: int = 10_000
    max_ratio: int = 200
    """How many times larger than the archive its content may be, above `ratio_floor` bytes."""
    ratio_floor: int = 64 * 1024**2
