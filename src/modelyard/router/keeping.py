"""The routes that a router had last, on its disk."""

from __future__ import annotations

import os
from pathlib import Path

from modelyard.domain.errors import Invalid, Unavailable
from modelyard.gateway.remote import copy, wire
from modelyard.gateway.remote.wire import Publication

FILE = "published.json"


class Keeper:
    """Remembers the last publication over a restart, and knows the copy that the control plane keeps."""

    def __init__(self, directory: Path, mounted: Path | None) -> None:
        self._path, self._mounted = directory / FILE, mounted

    def kept(self) -> Publication | None:
        """What was published last on this disk; None on an empty one, or when it cannot be read."""
        try:
            return wire.publication(self._path.read_bytes())
        except (OSError, Invalid):
            return None

    def copied(self) -> Publication | None:
        """What the control plane published last, as far as the mounted copy says."""
        document = copy.read(self._mounted) if self._mounted else None
        try:
            return wire.publication(document) if document is not None else None
        except Invalid:
            return None

    def keep(self, publication: Publication) -> None:
        """Remember it; raises Unavailable when the disk refuses."""
        beside = self._path.with_name(f".{FILE}.new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(wire.PUBLICATION.dump_json(publication))
            os.replace(beside, self._path)
        except OSError as error:
            raise Unavailable(f"the router's routes cannot be kept: {error.strerror}") from error
