"""Whether the cluster answers: looked at now and then, so that the status can say since when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from modelyard.backends.base import Outage
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.probe import described, probe
from modelyard.domain.errors import ModelyardError
from modelyard.settings import Kubernetes

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
        unheard: Callable[[Outage | None], None] = lambda outage: None,
        wanted: Kubernetes | None = None,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known = capabilities
        self._learnt = learnt
        self._unheard = unheard
        self._gateway_class = wanted.gateway_class if wanted else ""
        self._cluster_queue = wanted.cluster_queue if wanted else ""
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
        found |= described(self._known, cluster_queue=self._cluster_queue)
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
            # Once may be chance; of what is told here, nothing is decided any more.
            again, self._trouble = bool(self._trouble), str(error) or "no answer in time"
            if again:
                message = f"the cluster's API server does not answer: {self._trouble}"
                self._unheard(Outage(self._answered, message))
        else:
            self._unheard(None)
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
