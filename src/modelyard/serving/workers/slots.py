"""Shared memory between the front and one worker: memory files that no crash can leave behind."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from modelyard.oip.tensor import Raw

ALIGNMENT = 64
COUNT = 16
LEAST_FREE = 6
"""Answers are copied out of their slots at once when fewer than so many are free."""
_NUMBER = struct.Struct("<Q")
_PAGE = mmap.PAGESIZE


class Region:
    """One memory file. It only ever grows, so that a mapping of it never faults."""

    def __init__(self, name: str, size: int = 0) -> None:
        self.fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self._map: mmap.mmap | None = None
        self._size = 0
        if size:
            self.reserve(size)

    def reserve(self, size: int) -> memoryview:
        """A writable view of the first `size` bytes; the file grows when it must. Release it after use."""
        if size > self._size:
            os.ftruncate(self.fd, -(-max(size, os.fstat(self.fd).st_size) // _PAGE) * _PAGE)
            self._remap()
        assert self._map is not None  # noqa: S101 - size is positive, so it was mapped above or before
        return memoryview(self._map)[:size]

    def look(self, size: int) -> memoryview | None:
        """A view of the first `size` bytes, None when the file is shorter. Release it after use."""
        if size > self._size:
            if os.fstat(self.fd).st_size < size:
                return None
            self._remap()
        return memoryview(self._map)[:size] if self._map is not None else None

    def close(self) -> None:
        """Let go of mapping and file."""
        # A mapping into which somebody still looks goes when the last one stops.
        self._map = None
        self._size = 0
        os.close(self.fd)

    def _remap(self) -> None:
        self._size = os.fstat(self.fd).st_size
        self._map = mmap.mmap(self.fd, self._size)


class Slots:
    """A pair of regions for each request that the worker may have, and the ledger.

    The ledger begins with the number of the last request that the worker began, which it writes; then comes
    for each slot the number of a request that nobody waits for any more, which the front writes.
    """

    def __init__(self) -> None:
        self._pairs = [(Region(f"request-{i}"), Region(f"answer-{i}")) for i in range(COUNT)]
        self._ledger = Region("ledger", _PAGE)
        self._free = list(range(COUNT - 1, -1, -1))
        self._lent: dict[int, weakref.ref[Any]] = {}

    @property
    def fds(self) -> list[list[int]]:
        """Descriptors of each pair."""
        return [[request.fd, answer.fd] for request, answer in self._pairs]

    @property
    def ledger_fd(self) -> int:
        """Descriptor of the ledger."""
        return self._ledger.fd

    @property
    def all_fds(self) -> list[int]:
        """Everything the worker must inherit."""
        return [*(fd for pair in self.fds for fd in pair), self.ledger_fd]

    def take(self) -> int:
        """A free slot, the one used last, so that few of them ever grow; COUNT of them may be taken."""
        return self._free.pop()

    def give(self, slot: int) -> None:
        """The slot is free again."""
        self._free.append(slot)

    @property
    def has_free(self) -> bool:
        """Whether there is a slot to take."""
        return bool(self._free)

    @property
    def may_lend(self) -> bool:
        """Whether so many slots are free that clients who read slowly may hold another one."""
        return len(self._free) >= LEAST_FREE

    def lend(self, slot: int, size: int) -> memoryview | None:
        """A slot's answer region, None when it is smaller than that.

        The slot gives itself back when the last view of it, and of a part of it, is gone.
        """
        view = self._pairs[slot][1].look(size) if size else None
        if view is None:
            return None
        array: Any = np.frombuffer(view, np.uint8)
        self._lent[slot] = weakref.ref(array, partial(self._returned, slot))
        return memoryview(array)

    def _returned(self, slot: int, _: object) -> None:
        self._lent.pop(slot, None)
        self._free.append(slot)

    def begun(self) -> int:
        """The number of the last request that the worker began."""
        view = self._ledger.reserve(_NUMBER.size)
        number = int(_NUMBER.unpack(view)[0])
        view.release()
        return number

    def abandon(self, slot: int, number: int) -> None:
        """Let the worker see that nobody waits any more for the request of this number in the slot."""
        place = _NUMBER.size * (1 + slot)
        view = self._ledger.reserve(place + _NUMBER.size)
        _NUMBER.pack_into(view, place, number)
        view.release()

    def write(self, slot: int, places: Sequence[int], data: Sequence[Sequence[Raw]], size: int) -> None:
        """Copy tensors to their places in a slot's request region, the pieces of each behind one another."""
        with self._pairs[slot][0].reserve(size) as view:
            for place, pieces in zip(places, data, strict=True):
                at = place
                for piece in pieces:
                    view[at : at + len(piece)] = piece
                    at += len(piece)

    def close(self) -> None:
        """Let go of all memory."""
        for request, answer in self._pairs:
            request.close()
            answer.close()
        self._ledger.close()


def placed(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where blocks of these sizes lie one after the other, each aligned, and where they end."""
    places: list[int] = []
    end = 0
    for size in sizes:
        end = -(-end // ALIGNMENT) * ALIGNMENT
        places.append(end)
        end += size
    return places, end
