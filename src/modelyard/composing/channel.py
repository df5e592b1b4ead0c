"""What control plane and routers prove themselves to one another with: made in time, and laid down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.composing import keys
from modelyard.domain.errors import ModelyardError, NotFound
from modelyard.gateway.base import Certificate
from modelyard.gateway.remote import proof
from modelyard.gateway.remote.proof import Proof, Shown

log = logging.getLogger(__name__)

SECRET = "modelyard-router"  # noqa: S105 - the name of a Secret
"""What routers mount: what the platform shows to them, and what they show to it."""
_TOKEN = "token"  # noqa: S105 - the name of a key of a Secret
_LOOK_SECONDS = 600.0
_AGAIN_SECONDS = 2.0
"""So often it is looked whether we lead, and tried again what failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What every control plane of an installation knows."""

    namespace: str
    master_key: bytes
    token: str


class Channel:
    """Keeps both sides' certificates good: its own in memory, that of the routers in their Secret.

    The authority follows from the master key, so that several control planes need not agree on one; whichever
    `may_write` renews the Secret. Routers take it up while they work, and connections that are there go on.
    """

    def __init__(
        self,
        cluster: Cluster,
        about: Installation,
        *,
        clock: Callable[[], float],
        may_write: Callable[[], bool],
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._cluster, self._about, self._clock, self._may_write = cluster, about, clock, may_write
        self._look_seconds = look_seconds
        self._own = proof.of_platform(self._issuer(), now=clock())
        self.shown = Shown(token=about.token, tls=proof.calling(self._own))

    async def begin(self) -> None:
        """Make the Secret where there is none, as no router starts without; else it is left to who leads.

        A router that has a certificate may be ready. One that has it while a control plane of an earlier
        release still leads would take requests and be told nothing.
        """
        if self._may_write() or not await self._found():
            await self.lay()

    async def lay(self) -> None:
        """Have the Secret of routers say what it should; nothing is written when it does."""
        issuer, now = self._issuer(), self._clock()
        found = await self._found()
        held = _held(found)
        if held is None or proof.must_be_renewed(held, issuer, proof.ROUTER, now=now):
            held = proof.of_router(issuer, now=now)
        wanted = {
            _TOKEN: self._about.token,
            proof.CERTIFICATE_FILE: held.shown.chain,
            proof.KEY_FILE: held.shown.key,
            proof.AUTHORITY_FILE: held.believed,
        }
        if found != wanted:
            await self._cluster.apply(keys.secret(self._about.namespace, wanted, name=SECRET))

    async def keep(self) -> NoReturn:
        """Renew both in time, and put back what others change of the Secret; until cancelled."""
        said = ""
        while True:
            leads = self._may_write()
            try:
                self._renew()
                if leads:
                    await self.lay()
                said = ""
            except (ModelyardError, OSError) as error:  # a full disk, too: there is time until the end
                why = str(error)
                if why != said:
                    log.warning("what routers and the platform prove themselves with is not renewed: %s", why)
                said = why
            pause = self._look_seconds
            await asyncio.sleep(pause if leads and not said else min(pause, _AGAIN_SECONDS))

    def _renew(self) -> None:
        issuer, now = self._issuer(), self._clock()
        if proof.must_be_renewed(self._own, issuer, proof.PLATFORM, now=now):
            own = proof.of_platform(issuer, now=now)
            proof.show(self.shown.tls, own.shown)
            self._own = own  # only now, so that what failed is tried again

    def _issuer(self) -> Certificate:
        return proof.authority_of(self._about.master_key, now=self._clock())

    async def _found(self) -> dict[str, str]:
        """What the Secret says; nothing where there is none, or what it says is no text."""
        try:
            found = await self._cluster.get(kinds.SECRET, SECRET, namespace=self._about.namespace)
            return keys.plain(found.get("data") or {})
        except (NotFound, ValueError):
            return {}


def _held(found: dict[str, str]) -> Proof | None:
    try:
        certificate = Certificate(chain=found[proof.CERTIFICATE_FILE], key=found[proof.KEY_FILE])
        return Proof(shown=certificate, believed=found[proof.AUTHORITY_FILE])
    except KeyError:
        return None
