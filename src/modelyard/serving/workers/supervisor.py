"""Keeps one worker running: starts it, watches it, ends it when it must, starts it again with back-off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from time import monotonic
from typing import Any, Protocol

from modelyard.serving.config import WorkerConfig
from modelyard.serving.dispatcher import Dispatcher
from modelyard.serving.errors import Failure
from modelyard.serving.workers.exits import explain_exit, hung, load_timeout, out_of_memory
from modelyard.serving.workers.link import Link
from modelyard.serving.workers.process import Process, is_stopped, resident_bytes, start
from modelyard.serving.workers.slots import Slots

WATCH_SECONDS = 0.25
PING_SECONDS = 1.0
"""An idle worker is asked this often for a sign of life."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 15.0
SOUND_SECONDS = 30.0
"""A worker that served for so long starts the back-off anew."""
FAREWELL_SECONDS = 1.0
"""A process that closed its connection has so long to exit by itself."""


class Announced(Protocol):
    """Something whose model is loaded."""

    loaded: Mapping[str, Any] | None
    """What it says of the model: device and signature."""


class Listener(Protocol):
    """Who wants to know how workers fare."""

    def worker_ready(self, supervisor: Supervisor, announced: Announced) -> None:
        """Its model is loaded."""

    def unfit(self, supervisor: Supervisor) -> Failure | None:
        """Why its process must not be started now, if it must not."""

    def worker_lost(self, supervisor: Supervisor, failure: Failure) -> bool:
        """Its process is gone; the answer says whether to start another."""


class Supervisor:
    """One worker, in all its lives."""

    def __init__(
        self,
        config: WorkerConfig,
        settings: str,
        *,
        dispatcher: Dispatcher,
        listener: Listener,
        request_timeout_seconds: float,
    ) -> None:
        self._config = config
        self._settings = settings
        self._dispatcher = dispatcher
        self._listener = listener
        self._request_timeout = request_timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._process: Process | None = None
        self._link: Link | None = None
        self._started_at = 0.0
        self._stopped_since = 0.0
        self._pinged_at = 0.0
        self.pause = FIRST_PAUSE_SECONDS / 2
        """Seconds between the last death and the next start; doubles while deaths follow one another."""
        self.resident = 0
        """Bytes of memory when last looked at."""
        self.peak = 0
        """The most of it that was ever seen."""

    @property
    def is_inline(self) -> bool:
        """Whether the model runs in the front's own process."""
        return False

    @property
    def pid(self) -> int:
        """The process that runs now; 0 for none."""
        return self._process.pid if self._process is not None and not self._process.has_exited else 0

    @property
    def is_ready(self) -> bool:
        """Whether its model is loaded and its process there."""
        return self._link is not None and self._link.loaded is not None and not self._link.is_lost

    def kill(self) -> None:
        """End the process at once, if one runs."""
        if self._process is not None:
            self._process.kill()

    @property
    def has_served(self) -> bool:
        """Whether the process that runs, or ran last, had loaded its model."""
        return self._link is not None and self._link.loaded is not None

    async def run(self) -> None:
        """Live until the listener says that no other life is wanted."""
        while True:
            begun = monotonic()
            failure = self._listener.unfit(self) or await self._live()
            lived = monotonic() - begun
            self.pause = (
                min(self.pause * 2, LONGEST_PAUSE_SECONDS) if lived < SOUND_SECONDS else FIRST_PAUSE_SECONDS
            )
            if not self._listener.worker_lost(self, failure):
                return
            await asyncio.sleep(self.pause)

    async def _live(self) -> Failure:
        """Start the process and watch it to its end; says why it ended."""
        slots = Slots()
        link = Link(self._loop, self._dispatcher, slots)
        link.on_loaded = self._loaded
        self._link, self._started_at, self._stopped_since = link, monotonic(), 0.0
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                self._process = start(
                    self._config,
                    self._settings,
                    channel=theirs,
                    fds=slots.all_fds,
                    loop=self._loop,
                    news=link.news,
                )
            await self._loop.create_unix_connection(lambda: link, sock=ours)
            failure = await self._watch(self._process, link)
        except OSError as error:
            ours.close()
            failure = Failure("InterpreterMissing", f"{self._config.interpreter} cannot be started: {error}")
        finally:
            # Also when this task is cancelled: a worker never outlives its supervisor.
            if self._process is not None:
                self._process.kill()
        if self._process is not None:
            await self._process.end()
        link.close()
        link.surrender(failure)
        slots.close()
        self.resident = 0
        return failure

    def _loaded(self, link: Link) -> None:
        self._dispatcher.attach(link)
        self._listener.worker_ready(self, link)

    async def _watch(self, process: Process, link: Link) -> Failure:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(link.news.wait(), WATCH_SECONDS)
            link.news.clear()
            if process.has_exited or link.is_lost:
                return await self._epitaph(process, link)
            failure = link.failure or self._judged(process, link)
            if failure is not None:
                return failure

    async def _epitaph(self, process: Process, link: Link) -> Failure:
        """Why the process ended, or is about to."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.gone(), FAREWELL_SECONDS)
        if link.failure is not None:
            return link.failure
        if not process.has_exited:
            return Failure("WorkerCrashed", "the model's process closed its connection and went on running")
        loading = link.loaded is None
        return explain_exit(
            process.status, resident=self.resident, memory_bytes=self._config.memory_bytes, loading=loading
        )

    def _judged(self, process: Process, link: Link) -> Failure | None:
        """Why the process must be ended now, if it must."""
        now = monotonic()
        resident = resident_bytes(process.pid)
        self.resident = resident or self.resident
        self.peak = max(self.peak, resident)
        if self._config.memory_bytes and resident > self._config.memory_bytes:
            return out_of_memory(resident, self._config.memory_bytes)
        if link.loaded is None:
            late = now - self._started_at > self._config.load_timeout_seconds
            return load_timeout(self._config.load_timeout_seconds) if late else None
        return self._silence(process, link, now)

    def _silence(self, process: Process, link: Link, now: float) -> Failure | None:
        patience = self._config.hang_timeout_seconds
        if not is_stopped(process.pid):
            self._stopped_since = 0.0
        elif not self._stopped_since:
            self._stopped_since = now
        elif now - self._stopped_since > patience:
            return hung(f"has been stopped for {patience:g} s")
        work = link.oldest
        if work is not None:
            # A client's own short deadline says nothing about the worker.
            due = max(work.deadline, work.begun_at + self._request_timeout)
            return (
                hung(f"has not answered {patience:g} s after the deadline") if now > due + patience else None
            )
        if not link.ping_sent_at:
            if now - self._pinged_at > min(PING_SECONDS, patience / 3):
                self._pinged_at = now
                link.ping()
        elif now - link.ping_sent_at > patience:
            return hung(f"has shown no sign of life for {patience:g} s")
        return None
