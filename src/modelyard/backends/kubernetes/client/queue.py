"""One line for everything that is asked of an API server: so many in a second, so many at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one server is asked."""

    per_second: float = 20.0
    burst: int = 40
    at_once: int = 8


class Queue:
    """Gives turns in the order in which they were asked for."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.at_once)
        self._next = float("-inf")
        """When the next turn would be if there were no burst."""

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while something is asked."""
        async with self._places:
            await self.pace()
            yield

    async def pace(self) -> None:
        """Wait until one more may begin; for what lasts long, and would hold a place all the time."""
        now = asyncio.get_running_loop().time()
        step = 1.0 / self._limits.per_second
        self._next = max(self._next, now - step * (self._limits.burst - 1)) + step
        early = self._next - step - now
        if early > 0:
            await asyncio.sleep(early)
