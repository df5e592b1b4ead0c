"""A gateway in memory, with the delays and deaths of a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from modelyard.domain.deployment import Failure
from modelyard.domain.endpoint import Route, RoutingView, Target
from modelyard.domain.tallies import Reading
from modelyard.gateway.base import Certificate, Copies


class MemoryGateway:
    """Writing routes takes `delay` seconds, and `lag` more until they take effect; a dead one waits."""

    def __init__(
        self, *, lag: Callable[[], float] = lambda: 0.0, delay: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.published: tuple[Route, ...] = ()
        self.applied: tuple[Route, ...] = ()
        self.publications = 0
        self.alive = True
        self.is_late: Callable[[Target], bool] = lambda target: False
        """Whether somebody else's gateway in front does not lead to a published one yet."""
        self.refusals: dict[str, str] = {}
        self.starts = 0
        self.failure: Failure | None = None
        self.on_apply: Callable[[tuple[Route, ...]], None] = lambda routes: None
        self.waiting: dict[str, int] = {}
        self.knocks: set[str] = set()
        self._knocked = asyncio.Event()
        self.counted = Reading(epoch="1")
        """What it says that it counted."""
        self.busy: frozenset[int] = frozenset()
        self.presented: Certificate | None = None
        self.beside: Certificate | None = None
        self.plans: dict[str, tuple[RoutingView, ...]] = {}
        self.lag = lag
        self.delay = delay

    async def publish(self, routes: Sequence[Route]) -> None:
        delay = self.delay()
        if delay:
            await asyncio.sleep(delay)
        self.published = tuple(routes)
        self.publications += 1
        lag = self.lag()
        if lag:
            asyncio.get_running_loop().call_later(lag, self._apply)
        else:
            self._apply()

    async def present(self, certificate: Certificate, beside: Certificate) -> None:
        self.presented, self.beside = certificate, beside

    async def busy_ports(self) -> frozenset[int]:
        return self.busy

    def unopened(self) -> dict[int, str]:
        ports = {port for route in self.published for port in route.ports}
        return {port: f"port {port} is in use" for port in sorted(ports & self.busy)}

    async def routed(self) -> frozenset[str]:
        routes = (*self.applied, *(() if self.alive else self.published))
        return frozenset(target.replica for route in routes for target in route.targets)

    def pending(self) -> frozenset[str]:
        targets = (target for route in self.published for target in route.targets)
        return frozenset(target.replica for target in targets if self.is_late(target))

    def refused(self) -> dict[str, str]:
        return dict(self.refusals)

    async def statistics(self) -> Reading | None:
        return self.counted if self.alive else None

    async def copies(self) -> tuple[Copies, ...]:
        mirrors = ((route.name, mirror.share.name) for route in self.applied for mirror in route.mirrors)
        return tuple(Copies(route=route, share=share) for route, share in mirrors)

    async def asked(self) -> frozenset[str]:
        await self._knocked.wait()
        self._knocked.clear()
        asked, self.knocks = frozenset(self.knocks), set()
        return asked

    def knock(self, name: str, count: int = 1) -> None:
        """So many requests begin to wait for a service."""
        self.waiting[name] = self.waiting.get(name, 0) + count
        self.knocks.add(name)
        self._knocked.set()

    def members(self) -> dict[str, str]:
        return {}

    def plan(self, route: str) -> tuple[RoutingView, ...]:
        return self.plans.get(route, ())

    async def ensure(self) -> Failure | None:
        if not self.alive and self.failure is None:
            self.alive = True
            self.starts += 1
            self._apply()
        return self.failure

    async def close(self, *, stop: bool) -> None:
        self.alive = self.alive and not stop

    def kill(self) -> None:
        """It dies; what it had on disk stays."""
        self.alive = False

    def _apply(self) -> None:
        if self.alive and self.applied != self.published:
            self.applied = self.published
            self.on_apply(self.applied)
