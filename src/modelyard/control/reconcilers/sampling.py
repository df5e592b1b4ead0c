"""Read what the gateway counted and what replicas use, every few seconds, and keep what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.domain import tallies
from modelyard.domain.observation import KEEP, Load, Part, Window
from modelyard.domain.tallies import Reading, Sample, Tally
from modelyard.store import measures, readings
from modelyard.store.readings import Last

PERIOD_SECONDS = 5.0

_STEP = KEEP[0][0]
_LATE = 3
"""A look that comes more periods after the last one says nothing of the load in between."""
_MOST_THINNED = 50
"""Intervals that are thinned out in one go; what is left waits for the next minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _New:
    """What was counted since the last reading."""

    windows: Mapping[Part, Window] = field(default_factory=dict)
    answered: Mapping[str, int] = field(default_factory=dict)
    """By replica."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """By route."""
    inflight: Mapping[str, int] = field(default_factory=dict)
    changed: tuple[Tally, ...] = ()
    gone: frozenset[str] = frozenset()


class Sampler:
    """The reconciler. Counters are kept beside what was made of them, in one transaction.

    So whoever reads next, this control plane, a later or another one, continues where the last ended, and
    counts nothing twice. Of replicas this one remembers what they had used.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._last: Last | None = None
        self._samples: Mapping[tuple[str, str], Sample] = {}
        self._sampled_at = 0.0
        self._thinned = 0

    async def reconcile(self, _: str) -> Again:
        """One look."""
        platform = self._platform
        async with platform.database.read() as tx:
            last = self._last = await readings.last(tx, known=self._last)
        reading = await platform.gateway.statistics()
        samples = {(each.service, each.replica): each for each in await platform.backend.samples()}
        now = platform.clock()
        since = min(max(last.at, self._sampled_at) or now - PERIOD_SECONDS, now)
        new = _New() if reading is None else _new(last, reading, since=since, now=now)
        loads = self._loads(samples, new, now)
        if new.changed or new.gone or loads:
            await self._keep(last, reading, new, loads, now=now)
        self._samples, self._sampled_at = samples, now
        if int(now) // 60 != self._thinned:
            self._thinned = int(now) // 60
            await self._thin_out(now)
        left = PERIOD_SECONDS - now % PERIOD_SECONDS
        return Again(left if left > PERIOD_SECONDS / 4 else left + PERIOD_SECONDS)

    def _loads(
        self, samples: Mapping[tuple[str, str], Sample], new: _New, now: float
    ) -> dict[tuple[str, str], Load]:
        late = not now - _LATE * PERIOD_SECONDS <= self._sampled_at < now
        since = now - PERIOD_SECONDS if late else self._sampled_at
        before = {} if late else self._samples
        return {
            key: tallies.load(
                before.get(key),
                sample,
                inflight=new.inflight.get(sample.replica, 0),
                requests=new.answered.get(sample.replica, 0),
                since=since,
                until=now,
            )
            for key, sample in samples.items()
            if before or sample.started_at >= since
        }

    async def _keep(
        self,
        last: Last,
        reading: Reading | None,
        new: _New,
        loads: Mapping[tuple[str, str], Load],
        *,
        now: float,
    ) -> None:
        middle = now - min(max(now - last.at, 0.0), PERIOD_SECONDS) / 2
        at = int(middle) // _STEP * _STEP
        async with self._platform.database.begin() as tx:
            if await readings.turn(tx) != last.turn:
                return  # another control plane has counted this meanwhile
            await measures.add_windows(tx, at, _STEP, new.windows)
            await measures.add_loads(tx, at, _STEP, loads)
            if reading is None:
                return
            kept = Last(
                turn=last.turn + 1,
                at=now,
                epoch=reading.epoch,
                tallies={tally.name: tally for tally in reading.tallies},
                totals=dict(Counter(last.totals) + Counter(new.counted)),
            )
            await readings.keep(tx, kept, changed=new.changed, gone=new.gone)
        self._last = kept

    async def _thin_out(self, now: float) -> None:
        for _ in range(_MOST_THINNED):
            async with self._platform.database.begin() as tx:
                if not await measures.thin_out(tx, now=now):
                    return


def _new(last: Last, reading: Reading, *, since: float, now: float) -> _New:
    """What is new in a reading; of a gateway that started anew, everything."""
    known = last.tallies if last.epoch == reading.epoch else {}
    windows: dict[Part, Window] = {}
    answered: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    changed = []
    for tally in reading.tallies:
        before = known.get(tally.name)
        if tally == before:
            continue
        changed.append(tally)
        more = tallies.grown(before, tally)
        answered.update(more.replicas)
        counted[tally.route] += more.requests
        window = tallies.window(more, since=min(since, now), until=now)
        if window is not None:
            part = tally.part
            together = windows.get(part, Window()) + window
            windows[part] = replace(together, seconds=window.seconds)
    return _New(
        windows=windows,
        answered=answered,
        counted=counted,
        inflight=reading.inflight,
        changed=tuple(changed),
        gone=frozenset(last.tallies.keys() - {tally.name for tally in reading.tallies}),
    )
