"""The events of a watch, out of the lines of an answer that does not end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from modelyard.backends.kubernetes.client import refusals
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.errors import Unavailable

_INITIAL_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an object."""

    type: str
    """`ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`."""
    object: Manifest

    @property
    def version(self) -> str:
        """As of when it is."""
        return str((self.object.get("metadata") or {}).get("resourceVersion") or "")

    @property
    def ends_initial(self) -> bool:
        """Whether everything that there was at first has come."""
        annotations = (self.object.get("metadata") or {}).get("annotations") or {}
        return self.type == "BOOKMARK" and annotations.get(_INITIAL_END) == "true"


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines out of pieces of any size; also a last one that does not end."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """The events; raises what an `ERROR` among them says, and Unavailable for what is none."""
    async for line in lines(chunks):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
            event = Event(str(found["type"]), found["object"])
            isinstance(event.object["metadata"], dict)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise Unavailable("a watch broke off in the middle of an event") from None
        if event.type == "ERROR":
            status = event.object
            raise refusals.refused(int(status.get("code") or 500), status, refusals.seconds_of({}, status))
        yield event
