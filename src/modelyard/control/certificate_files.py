"""The authority and certificates of one installation as files that only their owner can read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from modelyard.domain import certificate as rules
from modelyard.domain.certificate import Source
from modelyard.domain.errors import Unavailable
from modelyard.gateway import authority
from modelyard.gateway.base import Certificate

CA_FILE = "ca.pem"
"""The authority's certificate by itself, for clients of this machine."""
_AUTHORITY, _ISSUED, _UPLOADED = "authority.json", "issued.json", "uploaded.json"


class Keyring:
    """What lies in `directory`; chain and key are one file each, so that a swap is whole.

    `name` tells clients whose authority it is. Raises Unavailable when the disk refuses.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name

    def authority(self, *, now: float) -> Certificate:
        """The platform's own authority; made when there is none that is good for long enough."""
        known = self._read(_AUTHORITY)
        if known is not None and not self._is_old(known, now):
            self._show(known)
            return known
        made = authority.make_authority(self._name, now=now)
        self._write(_AUTHORITY, json.dumps({"chain": made.chain, "key": made.key}))
        # Of several control planes that make one at once, the last is everybody's.
        settled = self._read(_AUTHORITY) or made
        self._show(settled)
        return settled

    def issued(self, hosts: Collection[str], *, now: float, like: Certificate | None = None) -> Certificate:
        """A certificate of the authority for these hosts: the last one while it still does.

        It stands beside `like`, if that is given, with a key of the same kind.
        """
        issuer, known = self.authority(now=now), self._read(_ISSUED)
        fits = known is not None and (like is None or authority.same_kind(known, like))
        if (
            known is not None
            and fits
            and authority.signed_by(known, issuer)
            and not self._is_old(known, now, hosts)
        ):
            return known
        made = authority.issue(issuer, hosts, now=now, like=like)
        self._write(_ISSUED, json.dumps({"chain": made.chain, "key": made.key}))
        return made

    def uploaded(self) -> Certificate | None:
        """What an administrator gave, if anything."""
        return self._read(_UPLOADED)

    def upload(self, given: Certificate) -> None:
        """Keep what an administrator gave."""
        self._write(_UPLOADED, json.dumps({"chain": given.chain, "key": given.key}))

    def forget(self) -> None:
        """Keep nothing that an administrator gave."""
        (self._directory / _UPLOADED).unlink(missing_ok=True)

    def _show(self, known: Certificate) -> None:
        """Have clients of this machine trust this authority."""
        try:
            shown = (self._directory / CA_FILE).read_text()
        except (OSError, ValueError):
            shown = ""
        if shown != known.chain:
            self._write(CA_FILE, known.chain)

    def _is_old(self, known: Certificate, now: float, hosts: Collection[str] = ()) -> bool:
        return rules.is_due(authority.view(known, Source.SELF_MADE), hosts, now=now)

    def _read(self, name: str) -> Certificate | None:
        try:
            document = json.loads((self._directory / name).read_text())
            return Certificate(chain=document["chain"], key=document["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, name: str, text: str) -> None:
        fresh = None
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A name of its own, as several control planes may write here.
            descriptor, fresh = tempfile.mkstemp(prefix=f".{name}.", suffix=".new", dir=self._directory)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._directory / name)
        except OSError as error:
            if fresh is not None:
                Path(fresh).unlink(missing_ok=True)
            raise Unavailable(f"{self._directory / name} cannot be written: {error.strerror}") from None
