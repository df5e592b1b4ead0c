"""Whether the cluster answers: looked at now and then, so that the status can say since when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.probe import described, probe
from modelyard.domain.errors import ModelyardError

_EVERY_SECONDS = 10.0
_PROBE_SECONDS = 300.0


class Reached:
    """Asks for the version, which costs the cluster next to nothing, and remembers the last answer."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        clock: Callable[[], float],
        capabilities: Capabilities,
        learnt: Callable[[Capabilities], None] = lambda found: None,
        gateway_class: str = "",
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known = capabilities
        self._learnt = learnt
        self._gateway_class = gateway_class
        self._probed = clock()
        self._answered = clock()
        self._trouble = ""

    def describe(self) -> Mapping[str, str]:
        """Which cluster it is, and whether it answers."""
        found = {
            "server": self._cluster.access.server,
            "context": self._cluster.access.context,
            "version": ".".join(map(str, self._known.version)),
            "reachable": "no" if self._trouble else "yes",
        }
        found |= described(self._known)
        if self._trouble:
            found["stale_since"] = datetime.fromtimestamp(self._answered, UTC).isoformat(timespec="seconds")
            found["why"] = self._trouble
        return found

    async def look(self) -> None:
        """Ask once."""
        try:
            async with asyncio.timeout(_EVERY_SECONDS):
                version = await self._cluster.version()
        except (ModelyardError, TimeoutError) as error:
            self._trouble = str(error) or "no answer in time"
        else:
            self._trouble, self._answered = "", self._clock()
            self._known = replace(self._known, version=version)
            if self._answered - self._probed >= _PROBE_SECONDS:
                await self._probe()

    async def _probe(self) -> None:
        """Look at everything that the cluster can do."""
        self._probed = self._clock()
        self._known = await probe(self._cluster, known=self._known, gateway_class=self._gateway_class)
        self._learnt(self._known)

    async def run(self, *, every: float = _EVERY_SECONDS) -> None:
        """Ask again and again."""
        while True:
            await asyncio.sleep(every)
            await self.look()
