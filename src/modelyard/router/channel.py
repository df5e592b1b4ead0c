"""What a router proves itself with, as the control plane lays it down, and anew before it ends."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from modelyard.domain.errors import Invalid
from modelyard.gateway import authority
from modelyard.gateway.base import Certificate
from modelyard.gateway.remote import proof
from modelyard.gateway.remote.proof import Proof

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 1.0


class Channel:
    """Reads the certificate of a directory, which may come late, and takes up each that follows.

    Connections that are there go on with what they began with. One that cannot be used changes nothing. Whom
    the router believes stays the same, as the token does, for as long as it runs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._context: ssl.SSLContext | None = None
        self._taken: Proof | None = None
        self._said = ""
        self._opened = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why the control plane cannot talk to this router; empty when it can."""
        return "" if self._opened.is_set() else f"its certificate is not there yet: {self._said}"

    @property
    def context(self) -> ssl.SSLContext:
        """For the port that the control plane talks to, once it is opened."""
        assert self._context is not None  # noqa: S101 - whoever asks has waited
        return self._context

    async def opened(self) -> None:
        """Wait until there is something to prove this router with."""
        await self._opened.wait()

    async def follow(self) -> None:
        """Take up what lies in the directory whenever it is another; until cancelled."""
        while True:
            try:
                self._take(_read(self._directory))
                self._said = ""
            except Invalid as error:
                if self._said != error.message:
                    log.warning("the certificate for the control plane is not taken: %s", error.message)
                self._said = error.message
            await asyncio.sleep(_AGAIN_SECONDS)

    def _take(self, found: Proof) -> None:
        if self._context is None or self._taken is None:
            self._context = proof.answering(found)
            self._opened.set()
        elif not authority.same_authority(found.believed, self._taken.believed):
            raise Invalid(f"{proof.AUTHORITY_FILE} is of another authority; start the router anew for it")
        elif found.shown != self._taken.shown:
            proof.show(self._context, found.shown)
            log.info("the certificate for the control plane is another one")
        self._taken = found


def _read(directory: Path) -> Proof:
    """What lies there. Raises Invalid, also while it is being replaced."""
    texts = []
    for name in (proof.CERTIFICATE_FILE, proof.KEY_FILE, proof.AUTHORITY_FILE):
        path = directory / name
        try:
            texts.append(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise Invalid(f"{path} cannot be read: {why}") from error
    chain, key, believed = texts
    return Proof(shown=Certificate(chain=chain, key=key), believed=believed)
