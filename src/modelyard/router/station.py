"""One gateway and what it should work by; everything that the control plane may ask of a router."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from modelyard.domain.errors import BackendError, ModelyardError, Unavailable
from modelyard.gateway.envoy.gateway import EnvoyGateway
from modelyard.gateway.remote.wire import News, Publication
from modelyard.router.keeping import Keeper

log = logging.getLogger(__name__)

_ENSURE_SECONDS = 0.5
_AGAIN_SECONDS = 0.5


class Outdated(ModelyardError):
    """What was published is older than what is there."""

    code = "conflict"
    title = "Conflict"

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version} of the routes is here, which is newer")
        self.version = version


class Station:
    """Keeps one gateway at its last publication; whoever is sent an older one is refused."""

    def __init__(self, gateway: EnvoyGateway, keeper: Keeper, *, identity: str) -> None:
        self._gateway, self._keeper, self._identity = gateway, keeper, identity
        self._lock = asyncio.Lock()
        self._wanted: Publication | None = None
        self._version = 0
        self._failure = ""
        self._leaving = False
        self._asked: dict[str, int] = {}
        self._serial = 0
        self._turn = asyncio.Event()

    @property
    def gateway(self) -> EnvoyGateway:
        """The gateway itself, for what is only asked."""
        return self._gateway

    @property
    def is_ready(self) -> bool:
        """Whether clients may be sent here: its Envoy works by routes, and it is not about to end."""
        return bool(self._version) and not self._failure and not self._leaving

    @property
    def version(self) -> int:
        """Of the routes that the gateway works by; 0 while it has none."""
        return self._version

    async def publish(self, publication: Publication) -> None:
        """Work by it, and remember it first, so that a restart does not fall back behind it.

        Raises Outdated for an older one, and Unavailable or BackendError when Envoy does not take it; then
        the one before is what a restart begins with.
        """
        async with self._lock:
            before = self._wanted
            if before is not None and publication.version < before.version:
                raise Outdated(before.version)
            self._keeper.keep(publication)
            self._wanted = publication
            try:
                await self._take(publication)
            except BackendError:
                self._wanted = before
                if before is not None:
                    self._keeper.keep(before)
                raise

    async def begin(self, settle_seconds: float) -> None:
        """Begin with what was there last: the newer of disk and copy.

        Without either it waits: a publication may come at any moment. On an empty disk the control plane is
        given a while before the copy counts, which may be a little behind.
        """
        kept = self._keeper.kept()
        if kept is None:
            await asyncio.sleep(settle_seconds)
        while self._wanted is None:
            kept, copied = self._keeper.kept(), await asyncio.to_thread(self._keeper.copied)
            found = [each for each in (kept, copied) if each is not None]
            if found:
                newest = max(found, key=lambda each: each.version)
                log.info("beginning with version %s of the routes, of before", newest.version)
                try:
                    await self.publish(newest)
                except Outdated:
                    return  # the control plane was faster
                except (Unavailable, BackendError) as error:
                    log.warning("routes of before are not taken: %s", error.message)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def look_after(self) -> None:
        """Start the gateway again whenever it is gone; until cancelled."""
        while True:
            async with self._lock:
                if self._wanted is not None and not self._leaving:
                    await self._ensure()
                    with suppress(Unavailable, BackendError):
                        if self._version != self._wanted.version:
                            await self._take(self._wanted)
            await asyncio.sleep(_ENSURE_SECONDS)

    async def listen(self) -> None:
        """Remember which sleeping services are asked for; until cancelled."""
        while True:
            asked = await self._gateway.asked()
            self._serial += 1
            self._asked |= dict.fromkeys(asked, self._serial)
            turned, self._turn = self._turn, asyncio.Event()
            turned.set()

    async def news(self, *, after: int, seconds: float) -> News:
        """What there is to say; when nobody was asked for since `after`, only after so many seconds."""
        if self._serial <= after and seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._turn.wait(), seconds)
        return News(
            identity=self._identity,
            version=self._version,
            serial=self._serial,
            asked=tuple(sorted(name for name, serial in self._asked.items() if serial > after)),
            waiting=self._gateway.waiting,
            unopened=self._gateway.unopened(),
            failure=self._failure,
            leaving=self._leaving,
        )

    async def leave(self) -> None:
        """From now on nobody new should come; who comes is served."""
        self._leaving = True
        await self._gateway.leave()

    async def _take(self, publication: Publication) -> None:
        if publication.certificate is not None:
            beside = publication.beside or publication.certificate
            await self._gateway.present(publication.certificate, beside)
        await self._gateway.publish(publication.routes)
        if not self._leaving:
            await self._ensure()
        self._version = publication.version

    async def _ensure(self) -> None:
        failure = await self._gateway.ensure()
        said = f"{failure.reason}: {failure.message}" if failure else ""
        if said and said != self._failure:
            log.warning("the gateway does not serve: %s", said)
        self._failure = said
