"""Keeps the activator running while any service may sleep, and carries word to and from it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.gateway import process
from modelyard.gateway.activator.reporting import Listener

_TERM_POLLS = 200
_START_POLLS = 500
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one activator keeps its sockets and files."""

    requests: Path
    """Socket that the gateway sends requests to."""
    reports: Path
    """Socket that control planes listen on."""
    record: Path
    log: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """What tells this activator from others."""
        return ("--requests", str(self.requests), "--reports", str(self.reports))


class Keeper:
    """One activator: started when first needed, adopted when it runs, started again when it is gone."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._listener = Listener(place.reports)
        self._listening: asyncio.Task[None] | None = None
        self._needed = False

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many requests wait for each service."""
        return self._listener.waiting

    async def asked(self) -> frozenset[str]:
        """Wait until services are asked for that sleep: which."""
        return await self._listener.asked()

    def tell(self, awake: frozenset[str]) -> None:
        """Say which services the gateway has a replica of; who waits for one of them goes on."""
        self._listener.tell(awake)

    async def ensure(self, *, needed: bool | None = None) -> None:
        """Have it run and listen if it is needed, now or as was said last.

        Raises OSError when it cannot be started; one that is slow to listen is not waited for without end.
        """
        self._needed = self._needed if needed is None else needed
        if not self._needed:
            return
        if process.find(self._place.record, self._place.arguments) is None:
            command = (sys.executable, "-m", "modelyard.gateway.activator", *self._place.arguments)
            process.spawn(command, log=self._place.log, record=self._place.record)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listener.run(), name="listen to the activator")
        for _ in range(_START_POLLS):
            if self._listener.is_connected:
                break
            await asyncio.sleep(_POLL_SECONDS)

    async def close(self, *, stop: bool) -> None:
        """Let go of it; with `stop`, end it."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None
        running = process.find(self._place.record, self._place.arguments) if stop else None
        if running is None:
            return
        process.send(running, signal.SIGTERM)
        for _ in range(_TERM_POLLS):
            if not process.alive(running):
                break
            await asyncio.sleep(_POLL_SECONDS)
        process.send(running, signal.SIGKILL)
        for left in (self._place.record, self._place.requests, self._place.reports):
            left.unlink(missing_ok=True)
