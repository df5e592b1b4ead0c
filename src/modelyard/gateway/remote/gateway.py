"""The gateway as any number of routers: all work by the same routes, and count together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from modelyard.domain.deployment import Failure
from modelyard.domain.endpoint import Route, RoutingView
from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.domain.tallies import Reading
from modelyard.gateway.base import Certificate, Copies
from modelyard.gateway.remote import summing, wire
from modelyard.gateway.remote.copy import Copy
from modelyard.gateway.remote.dividing import divided
from modelyard.gateway.remote.link import Link, Router, Sending
from modelyard.gateway.remote.proof import Shown
from modelyard.gateway.remote.wire import News, Publication

log = logging.getLogger(__name__)

Listed = Callable[[], Awaitable[Sequence[Router]]]
"""Which routers there are, ready or not. May raise Unavailable; then those of before count."""

_LOOK_SECONDS = 2.0
"""So often it is looked whether there are other routers."""
_LIST_SECONDS = 5.0
"""So long who lists routers may take; then those of before count."""
_PATIENCE_SECONDS = 8.0
"""So long a publication waits for routers that were well before it."""
_STRANGER_SECONDS = 30.0
"""So long numbers wait for a router that was never heard: its old ones would count as new later."""


@dataclass(slots=True)
class _Wish:
    """What the routers should have."""

    routes: tuple[Route, ...] | None = None
    """None until somebody has said."""
    certificates: tuple[Certificate, Certificate] | None = None
    version: int = 0
    sending: Sending | None = None
    routers: int = 0
    """For so many it is divided."""


@dataclass(slots=True)
class _Kept:
    """What the copy says that routers start with while the control plane is away."""

    version: int = -1
    replicas: frozenset[str] = field(default_factory=frozenset)
    read: bool = False


class RemoteGateway:
    """Publishes to every router, and asks every router.

    A router that cannot be reached is told as soon as it can, and nobody waits for it meanwhile; until it is
    gone from the list it counts as sending requests to whom it knew last. `clock` gives seconds since the
    epoch.
    """

    def __init__(self, *, routers: Listed, shown: Shown, copy: Copy, clock: Callable[[], float]) -> None:
        self._listed, self._shown, self._copy, self._clock = routers, shown, copy, clock
        self._links: dict[Router, Link] = {}
        self._wish, self._kept = _Wish(), _Kept()
        self._lock = asyncio.Lock()
        self._looking = asyncio.Lock()
        """Taken before the other one: what was listed first is learned first, and nobody waits for it."""
        self._looked = float("-inf")
        self._asked: set[str] = set()
        self._news = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._strangers_until = 0.0
        self._said: dict[str, str] = {}
        self._unlisted = ""

    @property
    def troubles(self) -> Mapping[str, str]:
        """Routers that do not work by their routes, and why."""
        return {link.router.name: link.trouble for link in self._links.values() if link.trouble}

    @property
    def routers(self) -> tuple[str, ...]:
        """Names of all that there are."""
        return tuple(sorted(router.name for router in self._links))

    async def publish(self, routes: Sequence[Route]) -> None:
        """Make these the routes of every router.

        Returns when all that were well work by them; others get them as soon as they can. Raises Unavailable
        when there are routers and none could be told.
        """
        async with self._lock:
            await self._begin()
        await self._look(at_once=True)
        async with self._lock:
            if self._wish.routes != tuple(routes):
                self._wish.routes = tuple(routes)
                await self._send_anew()
            elif self._wish.sending is not None:
                self._send(self._wish.sending)
            links = list(self._links.values())
        await self._settle([link for link in links if not link.trouble] or links)
        if links and not any(link.is_current for link in links):
            raise Unavailable(f"no router took the routes: {self._told()}")

    async def present(self, certificate: Certificate, beside: Certificate) -> None:
        """Use these for every TLS connection from now on; sent with the routes, so once there are any."""
        async with self._lock:
            await self._begin()
            if self._wish.certificates == (certificate, beside):
                return
            self._wish.certificates = (certificate, beside)
            if self._wish.routes is not None:
                await self._send_anew()

    async def busy_ports(self) -> frozenset[int]:
        """Ports that some router listens on."""
        await self._everyone(link.look_at_ports() for link in self._links.values())
        return frozenset().union(*(link.ports for link in self._links.values()))

    def unopened(self) -> Mapping[int, str]:
        """Services' own ports that some router could not open, and why; it tries again."""
        return {
            port: f"{why} (router {link.router.name})"
            for link in self._links.values()
            for port, why in link.news.unopened.items()
        }

    async def routed(self) -> frozenset[str]:
        """Names of the replicas that any router may still send requests to, or may when it starts."""
        if self._watching is None:
            async with self._lock:
                await self._begin()
        found = await asyncio.gather(*(link.routed() for link in list(self._links.values())))
        stale = self._wish.sending is not None and self._kept.version != self._wish.version
        if not self._links or stale:
            found = [*found, self._kept.replicas]
        return frozenset().union(*found)

    def pending(self) -> frozenset[str]:
        """None: what it works by, it works by at once."""
        return frozenset()

    def refused(self) -> Mapping[str, str]:
        """None: there is no other gateway in front."""
        return {}

    async def statistics(self) -> Reading | None:
        """What all routers counted; None while none was heard, or one that may have counted before."""
        links = list(self._links.values())
        await self._everyone(link.look() for link in links)
        heard = [link for link in links if link.reading is not None]
        if not heard or (len(heard) < len(links) and self._clock() < self._strangers_until):
            return None
        return summing.together(
            summing.Counted(router=link.router.name, reading=link.reading, now=bool(link.news.identity))
            for link in heard
            if link.reading is not None
        )

    async def copies(self) -> tuple[Copies, ...]:
        """What each mirror was sent by all routers since each of them started."""
        links = list(self._links.values())
        await self._everyone(link.look_at_copies() for link in links)
        return summing.copies(link.copied for link in links)

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many requests wait for each service that sleeps, at all routers."""
        return summing.waiting(link.news.waiting for link in self._links.values())

    async def asked(self) -> frozenset[str]:
        """Wait until services are asked for that sleep, at any router: which."""
        await self._news.wait()
        self._news.clear()
        asked = frozenset(self._asked)
        self._asked.clear()
        return asked

    def members(self) -> Mapping[str, str]:
        """Every router by name, with why it does not serve; empty when it does."""
        return {link.router.name: link.trouble for link in self._links.values()}

    def plan(self, route: str) -> tuple[RoutingView, ...]:
        """Routers do all."""
        return ()

    async def ensure(self) -> Failure | None:
        """Look for routers, and say why none serves. One that does not is no failure while others do."""
        async with self._lock:
            await self._begin()
        await self._look()
        self._say()
        if any(not link.trouble for link in self._links.values()):
            return None
        if self._links:
            return Failure(reason="GatewayUnavailable", message=f"no router serves: {self._told()}")
        why = self._unlisted or "there is none; see the router's Deployment and its pods"
        return Failure(reason="GatewayUnavailable", message=f"no router serves: {why}")

    async def close(self, *, stop: bool) -> None:
        """Let go of the routers, which go on serving: whoever started them ends them, also with `stop`.

        What was wished is forgotten, so that it is not told again beside the wishes of another control plane.
        """
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        for link in self._links.values():
            await link.close()
        self._links, self._wish, self._kept = {}, _Wish(), _Kept()

    async def _begin(self) -> None:
        """Once: know what routers may have from a control plane before this one, and look after them."""
        if not self._kept.read:
            await self._read_copy()
            self._strangers_until = self._clock() + _STRANGER_SECONDS
        if self._watching is None:
            await self._learn(await self._routers_now())
            self._watching = asyncio.create_task(self._watch(), name="look for routers")

    async def _read_copy(self) -> None:
        document = await self._copy.load()
        self._kept.read = True
        if document is None:
            return
        with suppress(ModelyardError):  # of a version that is too different: the next one replaces it
            kept = wire.publication(document)
            self._kept.version, self._kept.replicas = kept.version, kept.replicas
            self._wish.version = kept.version
            if kept.certificate is not None and kept.beside is not None and not self._wish.certificates:
                self._wish.certificates = (kept.certificate, kept.beside)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._look()
            async with self._lock:
                if self._wish.sending is not None and self._kept.version != self._wish.version:
                    await self._keep(self._wish.sending)

    async def _look(self, *, at_once: bool = False) -> None:
        """Learn which routers there are, unless that was done just now."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if not at_once and now - self._looked < _LOOK_SECONDS / 2:
                return
            listed = await self._routers_now()
            async with self._lock:
                await self._learn(listed)

    async def _routers_now(self) -> frozenset[Router] | None:
        """All that there are; None when nobody can say."""
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                listed = frozenset(await self._listed())
        except TimeoutError:
            self._unlisted = f"the routers could not be listed within {_LIST_SECONDS:g} s"
            listed = None
        except ModelyardError as error:
            self._unlisted = error.message
            listed = None
        self._looked = asyncio.get_running_loop().time()
        return listed

    async def _learn(self, listed: frozenset[Router] | None) -> None:
        """Know the routers that there are; a new one gets the routes at once."""
        if listed is None:
            return
        self._unlisted = ""
        for router in self._links.keys() - listed:
            await self._links.pop(router).close()
        for router in sorted(listed - self._links.keys(), key=lambda r: r.name):
            self._links[router] = self._link(router)
        if self._wish.routes is not None and self._wish.routers != max(len(listed), 1):
            await self._send_anew()

    def _link(self, router: Router) -> Link:
        if router.plain:
            log.warning(
                "a router of an earlier release is told its routes without TLS until it is replaced",
                extra={"router": router.name},
            )
        link = Link(
            router,
            shown=self._shown,
            before=self._kept.replicas,
            heard=self._hear,
            outrun=self._outrun,
        )
        if self._wish.sending is not None:
            link.want(self._wish.sending)
        return link

    async def _send_anew(self) -> None:
        """Make a version of what is wished, keep a copy, and have every router get it."""
        wish = self._wish
        if wish.routes is None:
            return
        wish.version = max(wish.version + 1, int(self._clock() * 1000))
        wish.routers = max(len(self._links), 1)
        certificate, beside = wish.certificates or (None, None)
        publication = Publication(
            version=wish.version,
            routes=divided(wish.routes, wish.routers),
            certificate=certificate,
            beside=beside,
        )
        body = await asyncio.to_thread(wire.PUBLICATION.dump_json, publication)
        wish.sending = Sending(version=wish.version, body=body, replicas=publication.replicas)
        # First, so that no router which starts meanwhile begins with what is not to be used any more.
        await self._keep(wish.sending)
        self._send(wish.sending)

    def _send(self, sending: Sending) -> None:
        for link in self._links.values():
            link.want(sending)

    async def _keep(self, sending: Sending) -> None:
        try:
            await self._copy.save(sending.body, version=sending.version)
        except ModelyardError as error:  # whatever it is, routers get their routes, and it is tried again
            if self._said.get("copy") != error.message:
                log.warning("the copy of the routes cannot be kept", extra={"error": error.message})
                self._said["copy"] = error.message
            return
        self._said.pop("copy", None)
        self._kept.version, self._kept.replicas = sending.version, sending.replicas

    def _outrun(self, version: int) -> None:
        """A router has routes of a later version, of a control plane whose clock was ahead: go beyond it."""
        if version >= self._wish.version:
            self._wish.version = version
            # The next look divides and sends anew.
            self._wish.routers = 0

    def _hear(self, said: News) -> None:
        self._asked.update(said.asked)
        if self._asked:
            self._news.set()

    async def _settle(self, links: Sequence[Link]) -> None:
        waiting = [asyncio.create_task(link.settled()) for link in links]
        if not waiting:
            return
        _, late = await asyncio.wait(waiting, timeout=_PATIENCE_SECONDS)
        for task in late:
            task.cancel()

    async def _everyone(self, looks: Iterable[Awaitable[None]]) -> None:
        await asyncio.gather(*looks)

    def _told(self) -> str:
        return "; ".join(f"{name}: {why}" for name, why in sorted(self.troubles.items()))[:1000]

    def _say(self) -> None:
        """Log which routers began to fail, and which are well again."""
        troubles = dict(self.troubles)
        for name in sorted(troubles.keys() | self._said.keys() - {"copy"}):
            why = troubles.get(name, "")
            if why != self._said.get(name, ""):
                log.warning("a router " + ("fails" if why else "is well"), extra={"router": name, "why": why})
        self._said = {**troubles, **{k: v for k, v in self._said.items() if k == "copy"}}
