"""Which requests may wait for a service that wakes: bounded in number, in bytes and in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

AWAKE = "awake"
"""What `x-modelyard-retry` says with a request that is sent back: nobody has begun it, and somebody can."""

LARGEST_BODY = 16 * 1024 * 1024
"""Bytes of one request that may wait: the gateway keeps them to send them once more."""

MOST_BYTES = 64 * 1024 * 1024
"""Bytes that the requests of one service may have together while they wait."""

MOST_BYTES_IN_ALL = 256 * 1024 * 1024
"""And those of all services."""


class Outcome(Enum):
    """What becomes of a request that was sent here."""

    AWAKE = "the service is awake; the request goes on to it"
    FULL = "the service wakes, and as many requests wait for it as may; try again shortly"
    TOO_LARGE = "the service wakes, and this request is too large to wait for it; try again shortly"
    LATE = "the service did not wake in time; try again, or ask `modelyard explain`"
    STREAMING = "the service is awake now; send the request again"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the waiting requests of one service may come to."""

    requests: int
    seconds: float
    total_bytes: int = MOST_BYTES
    body_bytes: int = LARGEST_BODY


@dataclass(slots=True, eq=False)
class Guest:
    """One request that waits, and whom to tell what becomes of it."""

    service: str
    bounds: Bounds
    tell: Callable[[Outcome], None]
    size: int = 0


@dataclass(slots=True)
class _Room:
    """Those who wait for one service, in the order in which they came."""

    guests: dict[Guest, None] = field(default_factory=dict)
    size: int = 0


class Hall:
    """Where requests wait, each service's apart; `changed` is called whenever their number changed."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._rooms: dict[str, _Room] = {}
        self._asked: set[str] = set()
        self._size = 0
        self._changed = changed

    def enter(self, guest: Guest) -> Outcome | None:
        """Take a request in; else why not. The service was asked for either way."""
        room = self._rooms.setdefault(guest.service, _Room())
        full = len(room.guests) >= guest.bounds.requests
        if full:
            self._tidy(guest.service)
        else:
            room.guests[guest] = None
        self._asked.add(guest.service)
        self._changed()
        return Outcome.FULL if full else None

    def grow(self, guest: Guest, size: int) -> Outcome | None:
        """Count bytes of a request that waits; None while it may go on."""
        room = self._rooms.get(guest.service)
        if room is None or guest not in room.guests:
            return None
        guest.size += size
        room.size += size
        self._size += size
        if guest.size > guest.bounds.body_bytes:
            return Outcome.TOO_LARGE
        crowded = room.size > guest.bounds.total_bytes or self._size > MOST_BYTES_IN_ALL
        return Outcome.FULL if crowded else None

    def leave(self, guest: Guest) -> None:
        """Forget a request: it was answered, or its client left."""
        room = self._rooms.get(guest.service)
        if room is None or guest not in room.guests:
            return
        del room.guests[guest]
        room.size -= guest.size
        self._size -= guest.size
        self._tidy(guest.service)
        self._changed()

    def release(self, service: str) -> None:
        """The service is awake: tell everyone who waits for it, in their order."""
        for guest in list(self._rooms.get(service, _Room()).guests):
            guest.tell(Outcome.AWAKE)

    @property
    def waiting(self) -> dict[str, int]:
        """How many wait for each service."""
        return {service: len(room.guests) for service, room in self._rooms.items() if room.guests}

    def take_asked(self) -> frozenset[str]:
        """The services that were asked for since this was called last, also in vain."""
        asked = frozenset(self._asked)
        self._asked.clear()
        return asked

    def _tidy(self, service: str) -> None:
        if not self._rooms[service].guests:
            del self._rooms[service]
