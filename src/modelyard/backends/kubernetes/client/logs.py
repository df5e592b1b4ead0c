"""Logs that go on after a break, and those of several pods as one."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.errors import Invalid, ModelyardError, NotFound, Unavailable

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")
_SECOND = 1_000_000_000
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_WINDOW_SECONDS = 0.25


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One line of a log."""

    at: int
    """Nanoseconds since 1970, by the clock of the node; 0 for a line without a stamp."""
    source: str
    """Whoever wrote it, such as the pod."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whose lines, and which."""

    namespace: str
    pod: str
    container: str = ""
    tail: int | None = None
    follow: bool = False
    previous: bool = False
    source: str = ""
    """What the lines are said to come from; empty is the pod."""


@dataclass(slots=True)
class Position:
    """How far a log was read: what was written at its last moment is known by heart."""

    at: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    _again: Counter[str] | None = None
    """What of the last moment is still to come a second time; None when nothing is."""

    @property
    def since(self) -> str:
        """From when on to ask again; empty for from the beginning. The API counts in whole seconds."""
        return (
            datetime.fromtimestamp(self.at // _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if self.at else ""
        )

    def reopened(self) -> None:
        """The log is read again from `since`."""
        self._again = self.texts.copy()

    def is_new(self, line: Line) -> bool:
        """Whether a line was not read before; it counts as read from now on."""
        if self._again is not None and 0 < line.at < self.at:
            return False
        if self._again is not None and line.at == self.at and self._again[line.text] > 0:
            self._again[line.text] -= 1
            return False
        if line.at > self.at:
            self.at, self.texts, self._again = line.at, Counter(), None
        if line.at == self.at:
            self.texts[line.text] += 1
        return True


def line_of(text: str, source: str) -> Line:
    """A line apart from its stamp."""
    found = _STAMP.match(text)
    if found is None:
        return Line(0, source, text)
    moment = datetime.fromisoformat(found[1] + found[3])
    nanoseconds = int((found[2] or "").ljust(9, "0"))
    return Line(int(moment.timestamp()) * _SECOND + nanoseconds, source, text[found.end() :])


async def lines(cluster: Cluster, wanted: Wanted) -> AsyncIterator[Line]:
    """What a container wrote, and with `follow` what it writes until its pod is done or gone.

    A connection that breaks is opened again where it was; nothing is told twice. Raises NotFound for a pod
    that was never there, and Invalid for a container that is not.
    """
    position, begun, failures = Position(), False, 0
    while True:
        trouble: ModelyardError | None = None
        try:
            async for line in _opened(cluster, wanted, position, begun=begun):
                begun, failures = True, 0
                yield line
            begun = True
        except (Unavailable, Invalid, NotFound) as error:
            # A container that has not started yet, or is between two starts, has no log either.
            trouble = error
        broken = isinstance(trouble, Unavailable)  # then the end of a pod that is done was not read yet
        if not wanted.follow or not (broken or await _lives(cluster, wanted)):
            break
        await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**failures))
        failures = min(failures + 1, 10)
    if trouble is not None and not begun:
        raise trouble


async def merged(
    sources: Sequence[AsyncIterator[Line]], *, window: float = _WINDOW_SECONDS
) -> AsyncIterator[Line]:
    """The lines of all by time: each waits a little for older ones of others, not for those who say nothing.

    Ends when all have ended; raises what one of them raises.
    """
    queue: asyncio.Queue[tuple[int, Line | BaseException | None]] = asyncio.Queue(maxsize=1000)
    tasks = [asyncio.create_task(_pump(number, each, queue)) for number, each in enumerate(sources)]
    try:
        async for line in _ordered(queue, len(tasks), window):
            yield line
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def last(sources: Sequence[AsyncIterator[Line]], count: int) -> list[Line]:
    """The last lines of all together, for logs that end."""
    found = await asyncio.gather(*(_all(each) for each in sources))
    return list(heapq.merge(*found, key=lambda line: line.at))[-count:] if count > 0 else []


async def _opened(
    cluster: Cluster, wanted: Wanted, position: Position, *, begun: bool
) -> AsyncIterator[Line]:
    position.reopened()
    texts = cluster.logs(
        wanted.namespace,
        wanted.pod,
        container=wanted.container,
        follow=wanted.follow,
        tail=None if begun else wanted.tail,
        since=position.since if begun else "",
        previous=wanted.previous,
    )
    async for text in texts:
        line = line_of(text, wanted.source or wanted.pod)
        if position.is_new(line):
            yield line


async def _lives(cluster: Cluster, wanted: Wanted) -> bool:
    """Whether more may come: as far as anybody knows, while the cluster does not answer."""
    try:
        pod = await cluster.get(kinds.POD, wanted.pod, namespace=wanted.namespace)
    except NotFound:
        return False
    except Unavailable:
        return True
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return False
    first = status.get("initContainerStatuses") or ()
    return not any(_is_done(each) for each in first if each.get("name") == wanted.container)


def _is_done(status: Manifest) -> bool:
    ended = (status.get("state") or {}).get("terminated")
    return ended is not None and ended.get("exitCode") == 0


_News = tuple[int, Line | BaseException | None]


async def _pump(number: int, source: AsyncIterator[Line], queue: asyncio.Queue[_News]) -> None:
    """Everything of one source, then how it ended."""
    ended: BaseException | None = None
    try:
        async for line in source:
            await queue.put((number, line))
    except Exception as error:  # noqa: BLE001 - raised again by whoever reads the queue
        ended = error
    await queue.put((number, ended))


async def _ordered(queue: asyncio.Queue[_News], sources: int, window: float) -> AsyncIterator[Line]:
    now = asyncio.get_running_loop().time
    waiting: list[tuple[int, int, float, int, Line]] = []
    """By time, then as they came; with when they came, and from which source."""
    heads: Counter[int] = Counter()
    living, count = set(range(sources)), 0
    while living or waiting:
        ready = bool(waiting) and (all(heads[n] for n in living) or now() >= waiting[0][2] + window)
        if ready:
            _, _, _, number, line = heapq.heappop(waiting)
            heads[number] -= 1
            yield line
            continue
        patience = max(0.0, waiting[0][2] + window - now()) if waiting else None
        try:
            async with asyncio.timeout(patience):
                number, news = await queue.get()
        except TimeoutError:
            continue
        if isinstance(news, BaseException):
            raise news
        if news is None:
            living.discard(number)
            continue
        count += 1
        heads[number] += 1
        heapq.heappush(waiting, (news.at, count, now(), number, news))


async def _all(source: AsyncIterator[Line]) -> list[Line]:
    return [line async for line in source]
