"""Which ports a service gets for itself: decided once, from its number, and then only remembered.

A service of number 7 gets 30070, and 30071 for its second port. What is taken or must not be given is passed
over, so that the number alone tells nothing for certain: what was given is stored with the service.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from modelyard.domain.errors import Conflict, FieldError, Invalid

STEP = 10
"""Between the ports of two services."""
MOST = 2
"""Ports of one service."""
BLACK_LIST = frozenset({10250})
"""Ports that are never given: 10250 is the kubelet's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """From where ports are given."""

    base: int = 30_000
    count: int = 10_000
    refused: frozenset[int] = field(default=BLACK_LIST)

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= 65_535:
            _refuse("gateway.port_base", f"must be between 1024 and 65535, got {self.base}")
        if not 1 <= self.count <= 65_536 - self.base:
            _refuse("gateway.port_count", f"must be between 1 and {65_536 - self.base}, got {self.count}")


def allocate(
    id: int, count: int, *, given: tuple[int, ...] = (), taken: frozenset[int], within: Range
) -> tuple[int, ...]:
    """The ports of the service with this number: those it has been `given`, and the free ones it still needs.

    `taken` are the ports of other services and those that somebody listens on. Raises Invalid for more than
    two, and Conflict when none is left.
    """
    if not 0 <= count <= MOST:
        _refuse(
            "spec.address", f"a service has at most {MOST} ports, not {count}; put one in front of the others"
        )
    if len(given) >= count:
        return given
    used = taken | within.refused | frozenset(given)
    needed = count - len(given)
    fresh = next(_free(id, needed, given, used, within), None)
    if fresh is None:
        last = within.base + within.count - 1
        raise Conflict(
            f"all ports from {within.base} to {last} are in use; delete a service that has one, "
            "or give `gateway.port_count` a higher number"
        )
    return (*given, *fresh)


def _free(
    id: int, needed: int, given: tuple[int, ...], used: frozenset[int], within: Range
) -> Iterator[tuple[int, ...]]:
    """Ports that would do, the best first: beside the first, in a place of its own, anywhere."""
    end = within.base + within.count
    beside = (given[0] + 1,) if given else ()
    if beside and beside[0] < end and beside[0] not in used:
        yield beside
    starts = range(within.base, end, STEP)
    first = id % len(starts)
    for start in (*starts[first:], *starts[:first]):
        place = range(start, min(start + MOST, end))
        # Both must be free, so that a second port asked for later stands beside the first.
        if len(place) >= needed and used.isdisjoint(place):
            yield tuple(place[:needed])
    rest = [port for port in range(within.base, end) if port not in used]
    if len(rest) >= needed:
        yield tuple(rest[:needed])


def _refuse(path: str, message: str) -> None:
    raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
