"""Whether the cluster answers: looked at now and then, so that the status can say since when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.domain.errors import ModelyardError

_EVERY_SECONDS = 10.0


class Reached:
    """Asks for the version, which costs the cluster next to nothing, and remembers the last answer."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float], version: tuple[int, int]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._version = version
        self._answered = clock()
        self._trouble = ""

    def describe(self) -> Mapping[str, str]:
        """Which cluster it is, and whether it answers."""
        found = {
            "server": self._cluster.access.server,
            "context": self._cluster.access.context,
            "version": ".".join(map(str, self._version)),
            "reachable": "no" if self._trouble else "yes",
        }
        if self._trouble:
            found["stale_since"] = datetime.fromtimestamp(self._answered, UTC).isoformat(timespec="seconds")
            found["why"] = self._trouble
        return found

    async def look(self) -> None:
        """Ask once."""
        try:
            async with asyncio.timeout(_EVERY_SECONDS):
                self._version = await self._cluster.version()
        except (ModelyardError, TimeoutError) as error:
            self._trouble = str(error) or "no answer in time"
        else:
            self._trouble, self._answered = "", self._clock()

    async def run(self, *, every: float = _EVERY_SECONDS) -> None:
        """Ask again and again."""
        while True:
            await asyncio.sleep(every)
            await self.look()
