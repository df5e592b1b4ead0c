"""The controller and the proxies of a gateway implementation: they work by what is in the cluster."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from tests.support.cluster import gateways
from tests.support.cluster.dataplane import reading
from tests.support.cluster.dataplane.proxy import Proxy
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand

_SEEN = (
    "Gateway", "GatewayClass", "ReferenceGrant", "Service", "EndpointSlice", "Secret", "Namespace",
)  # fmt: skip


@dataclass(slots=True)
class DataPlane:
    """Gives each Gateway an address, says of routes that they are taken up, and has an Envoy work by them."""

    hand: Hand
    lag: float = 0.0
    """Seconds from what a route's status says to what the proxies do; endpoints they know at once."""
    hesitation: float = 0.0
    """Seconds from a change to what the status says of it."""
    away: bool = False
    """While the controller is away nothing is said and nothing is programmed; the proxies go on."""
    refuse: str = ""
    """Words with which it refuses every route by host from now on; empty for none."""
    programmes: int = 0
    """How often the proxies were told."""
    _programmed: object = None
    _working: list[Object] = field(default_factory=list)
    """Routes that the proxies work by."""
    _proxy: Proxy = field(default_factory=Proxy)
    _addresses: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _changed: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By uid: the generation that was seen last, and when first."""
    _taken: dict[str, Object] = field(default_factory=dict)
    """By uid: routes as they were taken up last."""

    def step(self, value: Object) -> None:
        """Say what the controller has to say of one object."""
        if self.away or self._hesitates(value):
            return
        match value["kind"]:
            case "GatewayClass":
                gateways.gateway_class(self.hand, value)
            case "Gateway":
                gateways.gateway(self.hand, value, self.address(value))
            case _:
                gateways.route(self.hand, value, self.refuse)
                if not self.refuse:
                    self._taken[value["metadata"]["uid"]] = value

    def address(self, value: Object) -> str:
        """The gateway's own address on this machine."""
        uid = value["metadata"]["uid"]
        if uid not in self._addresses:
            # Kubelets give their pods others, and other clusters of this machine have other numbers here.
            number = os.getpid() % 60_000
            self._addresses[uid] = f"127.254.{number // 250}.{number % 250 + next(self._numbers)}"
        return self._addresses[uid]

    @property
    def is_settled(self) -> bool:
        """Whether the proxies work by what there is now."""
        return self._programmed == self._state()

    async def run(self) -> None:
        """Have the proxies follow, until cancelled."""
        known: object = None
        while True:
            seen = self._state()
            if seen == known or self.away:
                self._programmed = known
                await asyncio.sleep(0.02)
                continue
            known, routes = seen, self._routes()
            await self._fall_behind()
            wanted = reading.programme(self.hand, routes, self._addresses)
            if wanted.listeners:
                await self._proxy.program(wanted)
                self._working, self.programmes = routes, self.programmes + 1

    async def _fall_behind(self) -> None:
        """Work by the routes of before for a while, and yet know which pods are ready, as that is quicker."""
        behind_until = time.monotonic() + self.lag
        while time.monotonic() < behind_until:
            before = reading.programme(self.hand, self._working, self._addresses)
            self._proxy.locate(before.endpoints)
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End the proxies."""
        await self._proxy.close()

    def _hesitates(self, value: Object) -> bool:
        if not self.hesitation or value["kind"] not in ("HTTPRoute", "GRPCRoute"):
            return False
        uid, generation = value["metadata"]["uid"], value["metadata"].get("generation", 1)
        now = self.hand.cluster.store.clock()
        if self._changed.get(uid, (0, 0.0))[0] != generation:
            self._changed[uid] = (generation, now)
        return now - self._changed[uid][1] < self.hesitation

    def _routes(self) -> list[Object]:
        """Those that there still are, as they were taken up."""
        there = [*self.hand.list("HTTPRoute"), *self.hand.list("GRPCRoute")]
        uids = [each["metadata"]["uid"] for each in there]
        return [self._taken[uid] for uid in uids if uid in self._taken]

    def _state(self) -> object:
        seen = [each for kind in _SEEN for each in self.hand.list(kind)]
        routes = [(each["metadata"]["uid"], each["metadata"]["generation"]) for each in self._routes()]
        return routes, [(each["metadata"]["uid"], each["metadata"]["resourceVersion"]) for each in seen]
