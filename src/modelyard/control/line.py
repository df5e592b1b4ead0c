"""The line in which tasks wait for a place: of this control plane, and gone with the requests that wait."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from modelyard.domain import queue
from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.domain.placement import Claim, Request
from modelyard.domain.priority import Level
from modelyard.domain.queue import Begin, Held, Queued, Room, State, Wait, Waiting

LOOK_SECONDS = 1.0
"""So often is looked whether somebody else freed a place, such as a service its cards."""
MOST_LOOK_SECONDS = 5.0
"""A look that takes longer, as at a deployment that is just being started, holds nobody up."""
MOST_WAITING = 1000
MOST_BACKGROUND = 4
"""So many that nobody waits for may be in the line, as each keeps one of the loop's workers."""
_KEPT = 2000
"""Numbers of those who left without a turn are remembered for so many."""
_KEPT_SECONDS = 300.0
"""Who comes again later than this begins at the end."""

Look = Callable[[bool], Awaitable[Room]]
"""What may be given out now; with the cards, when somebody wants some."""


class NoTurn(Unavailable):
    """A task's turn did not come in time; nothing was begun, and asking again keeps its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A task that is to begin."""

    project: str
    subject: str
    kind: str
    level: Level = Level.NORMAL
    request: Request = field(default_factory=Request)
    since: datetime
    patience_seconds: float
    """After so long without a turn it gives up."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A task in the line, or one that runs."""

    asked: Asked
    number: int
    begin: Begin | None = None
    """How it began; None while it waits."""
    wait: Wait | None = None
    """What was said last of why it waits."""
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    """Something changed for it."""

    @property
    def id(self) -> str:
        return str(self.number)

    @property
    def waiting(self) -> Waiting:
        """As the decision sees it."""
        asked = self.asked
        return Waiting(
            id=self.id, project=asked.project, arrived=self.number, level=asked.level, request=asked.request
        )

    @property
    def held(self) -> Held:
        """What it has, once it runs."""
        where = self.begin.placement if self.begin else None
        claim = Claim(node=where.node, gpus=where.gpus) if where else Claim()
        return Held(project=self.asked.project, claim=claim)


class Line:
    """Lets tasks begin in order; whoever leaves wakes the others."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._deciding = asyncio.Lock()
        self._looks = 0
        self._used = 0
        """The last of these that a decision was made by; who asked before it began needs none of its own."""
        self._looked_at = -math.inf
        self._number = 0
        self._before: dict[tuple[str, str, str], tuple[int, float]] = {}
        """Numbers of those who gave up and may come again, and when they did; the oldest are forgotten."""

    @contextlib.asynccontextmanager
    async def place(self, asked: Asked, look: Look) -> AsyncIterator[Begin]:
        """A place, when it is this one's turn; raises NoTurn, with why, when that takes too long."""
        entry = self._enter(asked)
        try:
            yield await self._turn(entry, look)
        finally:
            self._leave(entry)

    @contextlib.contextmanager
    def told(self, asked: Asked) -> Iterator[Callable[[str], None]]:
        """A task whose turn somebody else decides; yields what hears why it waits, or of nothing."""
        entry = self._enter(asked)
        entry.begin = Begin(id=entry.id)

        def tell(why: str) -> None:
            entry.begin = None if why else Begin(id=entry.id)
            entry.wait = Wait(id=entry.id, position=0, why=why) if why else None

        try:
            yield tell
        finally:
            self._leave(entry)

    def seen(self) -> tuple[Queued, ...]:
        """All tasks: those that run, then those that wait in the order of their turns."""
        found = (_shown(each) for each in self._entries.values())
        return tuple(sorted(found, key=lambda each: (each.state is State.WAITING, each.position, each.since)))

    def claims(self) -> tuple[Claim, ...]:
        """The cards that tasks have now: no replica gets one of them."""
        found = (each.held.claim for each in self._entries.values() if each.begin is not None)
        return tuple(claim for claim in found if claim.gpus)

    def _enter(self, asked: Asked) -> _Entry:
        entry = _Entry(asked, self._number_of(asked))
        others = self._entries.values()
        if sum(each.begin is None for each in others) >= MOST_WAITING:
            self._remember(entry)
            raise NoTurn(f"{MOST_WAITING} tasks wait already; try again later", retry_after_seconds=30.0)
        if asked.level is Level.LOW and sum(e.asked.level is Level.LOW for e in others) >= MOST_BACKGROUND:
            self._remember(entry)
            raise NoTurn(f"{MOST_BACKGROUND} that nobody waits for are in the line already")
        self._entries[entry.number] = entry
        return entry

    def _number_of(self, asked: Asked) -> int:
        """The number that it had a short while ago, or the next."""
        number, left = self._before.pop(_who(asked), (0, -math.inf))
        if asyncio.get_running_loop().time() - left <= _KEPT_SECONDS:
            return number
        self._number += 1
        return self._number

    def _leave(self, entry: _Entry) -> None:
        self._entries.pop(entry.number, None)
        # Who hung up while it waited comes again; a version's next artifact does not begin at the end.
        if entry.begin is None or entry.asked.level is Level.LOW:
            self._remember(entry)
        for each in self._entries.values():
            each.turn.set()

    async def _turn(self, entry: _Entry, look: Look) -> Begin:
        loop = asyncio.get_running_loop()
        end = loop.time() + entry.asked.patience_seconds
        while True:
            entry.turn.clear()
            await self._decide(entry, look)
            if entry.begin is not None:
                return entry.begin
            if loop.time() >= end:
                self._remember(entry)
                raise NoTurn(_late(entry), retry_after_seconds=10.0)
            await self._changed(entry, end)

    async def _changed(self, entry: _Entry, end: float) -> None:
        """Return when something changed for it, nobody looked for a while, or its patience is at its end."""
        now = asyncio.get_running_loop().time
        while not entry.turn.is_set() and (left := min(end, self._looked_at + LOOK_SECONDS) - now()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await entry.turn.wait()

    async def _decide(self, entry: _Entry, look: Look) -> None:
        """One decision at a time, over what is there when it is made, for all that asked before it."""
        asked = self._looks
        async with self._deciding:
            if entry.begin is not None or self._used > asked:
                return
            self._looks += 1
            wants = any(each.asked.request.gpus for each in self._entries.values() if each.begin is None)
            room, why = await _seen(look, wants)
            # Nothing is awaited from here on, so that nobody comes or goes meanwhile.
            self._used, self._looked_at = self._looks, asyncio.get_running_loop().time()
            self._give(room, why)

    def _give(self, room: Room | None, why: str) -> None:
        """Let those begin that may; why says what is not known of the cards, or without a room of all."""
        waiting = [each for each in self._entries.values() if each.begin is None]
        unsure = [each for each in waiting if why and (room is None or each.asked.request.gpus)]
        for each in unsure:
            each.wait = Wait(id=each.id, position=0, why=why)
        if room is None:
            return
        known = [each.waiting for each in waiting if each not in unsure]
        running = [each.held for each in self._entries.values() if each.begin is not None]
        begins, waits = queue.decide(known, running, room)
        for begin in begins:
            entry = self._entries[int(begin.id)]
            entry.begin, entry.wait = begin, None
            entry.turn.set()
        for wait in waits:
            self._entries[int(wait.id)].wait = wait

    def _remember(self, entry: _Entry) -> None:
        """Who comes again for the same does not begin at the end."""
        self._before.pop(_who(entry.asked), None)
        self._before[_who(entry.asked)] = entry.number, asyncio.get_running_loop().time()
        while len(self._before) > _KEPT:
            self._before.pop(next(iter(self._before)))


def visible(found: Sequence[Queued], projects: Callable[[str], bool], stranger: str) -> tuple[Queued, ...]:
    """The tasks, of projects that somebody may not read without what they are; pure."""
    return tuple(
        each if projects(each.project) else replace(each, project=stranger, subject="", why="")
        for each in found
    )


async def _seen(look: Look, cards: bool) -> tuple[Room | None, str]:
    """What may be given out, and why that is not all: None when nothing is known, else no cards are."""
    try:
        async with asyncio.timeout(MOST_LOOK_SECONDS):
            return await look(cards), ""
    except (ModelyardError, TimeoutError) as error:
        late = f"what is free is not known within {MOST_LOOK_SECONDS:g} s"
        why = error.message if isinstance(error, ModelyardError) else late
    if not cards:
        return None, why
    room, _ = await _seen(look, cards=False)
    return room, why


def _who(asked: Asked) -> tuple[str, str, str]:
    return asked.project, asked.subject, asked.kind


def _late(entry: _Entry) -> str:
    wait = entry.wait
    where = f"at position {wait.position} of the queue" if wait and wait.position else "in the queue"
    why = f": {wait.why}" if wait and wait.why else ""
    return (
        f"waited {entry.asked.patience_seconds:g} s {where}{why}; "
        "`modelyard queue` shows what runs and what waits"
    )


def _shown(entry: _Entry) -> Queued:
    asked, begin, wait = entry.asked, entry.begin, entry.wait
    return Queued(
        project=asked.project,
        subject=asked.subject,
        kind=asked.kind,
        state=State.WAITING if begin is None else State.RUNNING,
        level=asked.level,
        position=wait.position if wait else 0,
        why=wait.why if wait else "",
        borrows=begin is not None and begin.borrows,
        since=asked.since,
    )
