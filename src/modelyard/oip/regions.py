"""Shared memory regions as requests name them; who keeps the memory is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from modelyard.oip.errors import Rejected, shown

REGION = "shared_memory_region"
BYTE_SIZE = "shared_memory_byte_size"
OFFSET = "shared_memory_offset"


class Regions(Protocol):
    """Regions that clients have registered; each call raises Rejected when bytes are not within one."""

    def read(self, part: Part) -> bytes:
        """A copy of the bytes."""

    def check(self, part: Part) -> None:
        """Whether the region is there and has these bytes."""

    def write(self, part: Part, data: bytes | bytearray | memoryview) -> None:
        """Put data at the beginning of the part, which must have room for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes within a region that a tensor's parameters name."""

    region: str
    offset: int
    size: int
    path: str
    """Where the request names it."""


def part_at(parameters: Mapping[str, Any], path: str) -> Part | None:
    """The part that parameters name, None when they name none; raises Rejected for a wrong one."""
    if REGION not in parameters:
        return None
    region = parameters[REGION]
    if not isinstance(region, str) or not region:
        raise Rejected(f"{path}.{REGION}", f"expected a region's name, got {shown(region)}")
    size = _whole(parameters.get(BYTE_SIZE), f"{path}.{BYTE_SIZE}")
    offset = _whole(parameters.get(OFFSET, 0), f"{path}.{OFFSET}")
    return Part(region, offset, size, f"{path}.{REGION}")


def _whole(value: Any, path: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Rejected(path, f"expected a number of bytes, got {shown(value)}")
    return value
