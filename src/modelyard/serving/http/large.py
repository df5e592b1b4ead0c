"""Large bodies are read by the system straight to where they stay, not in pieces that are joined later."""

from __future__ import annotations

import asyncio
from typing import Protocol

HEAD_BYTES = 16384
"""So much of a connection with large bodies is read at a time while no body is awaited."""
LEAST_BYTES = 131_072
"""Smaller bodies come in one piece, or nearly so."""
MOST_BYTES = 4 << 20
"""Larger ones get their memory as they come: a head alone is not worth so much."""
MOST_AWAITED_BYTES = 64 << 20
"""Memory that announced bodies may be given together before they are there."""


class Budget:
    """Memory for bodies that were announced and are not there yet; who gets none reads in pieces."""

    def __init__(self, limit: int = MOST_AWAITED_BYTES) -> None:
        self._left = limit

    def take(self, size: int) -> bool:
        """Whether there is so much, which is taken then."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """So much is not awaited any more."""
        self._left += size


BUDGET = Budget()


def is_large(announced: int, come: int) -> bool:
    """Whether a body of which so many bytes have come is worth reading straight to its place."""
    return LEAST_BYTES <= announced <= MOST_BYTES and announced - come >= announced // 4


class Room:
    """Where one announced body goes."""

    __slots__ = ("_awaited", "at", "body")

    def __init__(self, size: int) -> None:
        self.body = bytearray(size)
        self.at = 0
        self._awaited = size

    @classmethod
    def of(cls, size: int) -> Room | None:
        """Memory for a body of that size, None while others are given too much."""
        return cls(size) if BUDGET.take(size) else None

    @property
    def is_full(self) -> bool:
        """Whether the whole body is there."""
        return self.at == len(self.body)

    def add(self, part: memoryview | bytes) -> None:
        """Put a part that came otherwise to its place."""
        self.body[self.at : self.at + len(part)] = part
        self.at += len(part)

    def rest(self) -> memoryview:
        """The place of what is still to come."""
        return memoryview(self.body)[self.at :]

    def leave(self) -> None:
        """The body is there, or never will be."""
        BUDGET.give(self._awaited)
        self._awaited = 0


class Owner(Protocol):
    """A connection, which sees everything but the rest of large bodies."""

    def data_received(self, data: bytes) -> None:
        """Something came that belongs to no large body."""

    def body_arrived(self, count: int) -> None:
        """So much more of the awaited body is in its room."""

    @property
    def room(self) -> Room | None:
        """Where the body that is awaited goes; None when none is."""

    def eof_received(self) -> bool | None:
        """The client sends no more."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""

    def pause_writing(self) -> None:
        """The client reads too slowly."""

    def resume_writing(self) -> None:
        """It has caught up."""


class LargeBodies(asyncio.BufferedProtocol):
    """Stands between a socket and its connection once a large body has come on it."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._head = bytearray(HEAD_BYTES)
        self._awaits = False

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:
        room = self._owner.room
        self._awaits = room is not None
        return self._head if room is None else room.rest()

    def buffer_updated(self, nbytes: int) -> None:
        if self._awaits:
            self._owner.body_arrived(nbytes)
        else:
            self._owner.data_received(bytes(memoryview(self._head)[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._owner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.connection_lost(error)

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()


def switch(transport: asyncio.Transport, owner: Owner, *, reading: bool) -> None:
    """From now on large bodies on this connection are read straight to their rooms."""
    transport.set_protocol(LargeBodies(owner))
    if reading:
        # A transport of uvloop asks how its protocol takes data only when it begins to read.
        transport.pause_reading()
        transport.resume_reading()
