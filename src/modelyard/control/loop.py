"""The one loop that runs every reconciler: due keys from the store, one reconcile per key at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from modelyard.domain.errors import ModelyardError
from modelyard.store import Database, work

log = logging.getLogger(__name__)

HOLD_SECONDS = 1.0
"""A key that wants to be seen again this soon keeps its lease, which spares the database short waits."""


@dataclass(frozen=True, slots=True)
class Again:
    """Reconcile this key again after so many seconds, changed or not."""

    after: float


class Terminal(Exception):
    """Retrying cannot help until somebody changes the resource."""


Reconcile = Callable[[str], Awaitable[Again | None]]
Observe = Callable[[str, str, float], None]
"""Told of every reconcile: its kind, its outcome (`ok`, `failed`, `terminal`, `lost`) and its seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the loop looks, how long it owns a key, and how patient it is after failures."""

    workers: int = 8
    """Reconciles at once."""
    lease_seconds: float = 5.0
    """A key whose owner died is taken over after this long."""
    poll_seconds: float = 1.0
    """How long due work of another control plane may go unnoticed."""
    gather_seconds: float = 0.25
    """Work that became due by time alone is collected this long, so that many keys share a transaction."""
    crowd_seconds: float = 0.004
    """So much longer, for every key that moves, each waits for its next look."""
    base_seconds: float = 0.5
    cap_seconds: float = 60.0
    stop_seconds: float = 10.0
    """How long a stop waits for running reconciles; those that take longer are cut off, which is safe."""


@dataclass(slots=True, kw_only=True)
class _Held:
    """A key that this loop owns now."""

    lease_until: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    cut: bool = False
    """The loop stops, and waits for it no longer."""
    after: _Held | None = None
    """Who owned it here before and has not ended yet: this process was too slow to keep its own lease."""


class Loop:
    """Runs reconcilers over the store's work queue.

    What is due is kept in the store, so a crash or a second control plane loses nothing; a hint only cuts
    the wait. Cancelling `run` leaves everything as a crash would: leases end by themselves.
    """

    def __init__(
        self,
        database: Database,
        reconcilers: Mapping[str, Reconcile],
        *,
        clock: Callable[[], float],
        new_token: Callable[[], str],
        pace: Pace | None = None,
        observe: Observe = lambda kind, outcome, seconds: None,
    ) -> None:
        self._database, self._reconcilers, self._observe = database, reconcilers, observe
        self._clock, self._new_token, self._pace = clock, new_token, pace or Pace()
        self._held: dict[tuple[str, str], _Held] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._hinted: set[tuple[str, str]] = set()
        self._wake, self._ended, self._stopping = asyncio.Event(), asyncio.Event(), False
        self._ended.set()
        self._slots = asyncio.Semaphore(self._pace.workers)
        self._group: asyncio.TaskGroup

    def hint(self, kind: str, key: str) -> None:
        """Something may have changed. Cheap, lossy and always safe to call from the event loop."""
        held = self._held.get((kind, key))
        if held is not None:
            held.wake.set()
        elif kind in self._reconcilers:
            self._hinted.add((kind, key))
            self._wake.set()

    async def stop(self) -> None:
        """Let running reconciles end, a while, and give every lease back; answers when `run` has returned."""
        self._stopping = True
        self._wake.set()
        for held in self._held.values():
            held.wake.set()
        await _woken(self._ended, self._pace.stop_seconds)
        for held in self._held.values():
            if held.task is not None:
                held.cut = True
                held.task.cancel()
        await self._ended.wait()

    async def run(self) -> None:
        """Claim and reconcile until stopped or cancelled."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as self._group:
                while not self._stopping:
                    await self._feed()
        finally:
            self._ended.set()

    async def _feed(self) -> None:
        """Claim what is due or hinted at, then wait for more."""
        self._wake.clear()
        hinted, self._hinted = self._hinted, set()
        try:
            async with self._database.read() as tx:
                due = await work.next_due(tx)
            overdue = due is not None and due <= self._clock()
            wanted = self._reconcilers.keys() if overdue else {kind for kind, _ in hinted}
            claimed = bool(wanted) and await self._claim(wanted, hinted)
            wait = self._pace.poll_seconds
            if due is not None and (claimed or not overdue):
                # Long overdue and still not to be had is what this loop has no reconciler for.
                wait = min(wait, max(due - self._clock(), self._pace.gather_seconds))
            await _woken(self._wake, wait)
        except ModelyardError as error:
            log.warning("work queue is away", extra={"error": error.message})
            self._hinted |= hinted
            await asyncio.sleep(self._pace.base_seconds)

    async def _claim(self, wanted: Iterable[str], hinted: Iterable[tuple[str, str]]) -> bool:
        """Take what is due of these kinds; each taken key gets a task that owns it until it rests."""
        now, token = self._clock(), self._new_token()
        found: list[tuple[str, str]] = []
        async with self._database.begin() as tx:
            for kind, key in sorted(hinted):
                await work.put(tx, kind, key, due_at=now)
            for kind in sorted(wanted):
                keys = await work.claim(
                    tx, kind, limit=64, now=now, lease_seconds=self._pace.lease_seconds, token=token
                )
                found += ((kind, key) for key in keys)
        for kind, key in found:
            former = self._held.get((kind, key))
            if former is not None:
                former.lost = True
                former.wake.set()
            held = _Held(lease_until=now + self._pace.lease_seconds, after=former)
            self._held[kind, key] = held
            held.task = self._group.create_task(self._own(kind, key, token, held), name=f"{kind} {key}")
        return bool(found)

    async def _own(self, kind: str, key: str, token: str, held: _Held) -> None:
        """Reconcile one key, again and again while it moves, and give it back when it rests."""
        keeper = asyncio.create_task(self._keep(kind, key, token, held))
        try:
            delay = await self._until_it_rests(kind, key, held)
            if delay is not None and self._stopping:
                delay = 0.0
        except asyncio.CancelledError:
            if not held.cut:
                raise
            delay = 0.0  # whoever goes on begins with it at once
        finally:
            keeper.cancel()
            held.over.set()
            if self._held.get((kind, key)) is held:
                del self._held[kind, key]
        await self._give_back(kind, key, token, None if delay is None else self._clock() + delay)
        if held.wake.is_set() or held.lost:
            # A hint that came while the key was given back, or work of a lost lease that a twin must see.
            self.hint(kind, key)

    async def _until_it_rests(self, kind: str, key: str, held: _Held) -> float | None:
        """Look again and again while it moves; after how long it wants to be seen once more."""
        if held.after is not None:
            await held.after.over.wait()
            held.after = None
        delay: float | None = 0.0
        while delay is not None and delay <= HOLD_SECONDS and not (held.lost or self._stopping):
            # The more keys move at once, the more slowly each is looked at; hints are followed at once.
            await _woken(held.wake, delay and max(delay, len(self._held) * self._pace.crowd_seconds))
            held.wake.clear()
            async with self._slots:
                delay = await self._once(kind, key, held)
        return delay

    async def _once(self, kind: str, key: str, held: _Held) -> float | None:
        began, outcome, delay = self._clock(), "ok", None
        try:
            again = await self._reconcilers[kind](key)
            self._failures.pop((kind, key), None)
            delay = again.after if again else None
        except Terminal as error:
            outcome = "terminal"
            log.warning("reconcile stopped", extra={"kind": kind, "key": key, "error": str(error)})
        except Exception:  # whatever a reconciler raises, the other keys must go on
            outcome, delay = "failed", self._back_off(kind, key)
            log.exception("reconcile failed", extra={"kind": kind, "key": key, "again_seconds": delay})
        self._observe(kind, "lost" if held.lost else outcome, self._clock() - began)
        return delay

    def _back_off(self, kind: str, key: str) -> float:
        failures = self._failures[kind, key] = self._failures.get((kind, key), 0) + 1
        return float(min(self._pace.base_seconds * 2.0 ** min(failures - 1, 16), self._pace.cap_seconds))

    async def _keep(self, kind: str, key: str, token: str, held: _Held) -> None:
        """Extend the lease while the key is owned; notice when it is lost."""
        while not held.lost:
            await asyncio.sleep(self._pace.lease_seconds / 3)
            until = self._clock() + self._pace.lease_seconds
            try:
                async with self._database.begin() as tx:
                    kept = await work.extend(tx, kind, key, token=token, until=until)
            except ModelyardError:
                # The database may return before the lease ends; if not, giving back will find it lost.
                continue
            held.lost = not kept
            held.lease_until = until
        held.wake.set()

    async def _give_back(self, kind: str, key: str, token: str, due_at: float | None) -> None:
        try:
            async with self._database.begin() as tx:
                await work.finish(tx, kind, key, token=token, due_at=due_at)
        except ModelyardError:
            # The lease ends by itself and the key is due again then.
            log.warning("lease not given back", extra={"kind": kind, "key": key})


async def _woken(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most so long."""
    if seconds > 0 and not event.is_set():
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
