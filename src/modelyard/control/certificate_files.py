"""The authority and certificates of one installation as files that only their owner can read."""

from __future__ import annotations

import json
import os
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
            return known
        made = authority.make_authority(self._name, now=now)
        self._write(_AUTHORITY, json.dumps({"chain": made.chain, "key": made.key}))
        self._write(CA_FILE, made.chain)
        return made

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

    def _is_old(self, known: Certificate, now: float, hosts: Collection[str] = ()) -> bool:
        return rules.is_due(authority.view(known, Source.SELF_MADE), hosts, now=now)

    def _read(self, name: str) -> Certificate | None:
        try:
            document = json.loads((self._directory / name).read_text())
            return Certificate(chain=document["chain"], key=document["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, name: str, text: str) -> None:
        fresh = self._directory / f".{name}.new"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._directory / name)
        except OSError as error:
            raise Unavailable(f"{self._directory / name} cannot be written: {error.strerror}") from None
