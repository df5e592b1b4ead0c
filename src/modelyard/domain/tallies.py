"""Counters that only grow, as whoever counts gives them, and the windows between two looks at them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from modelyard.domain.observation import BOUNDS, Load, Part, Window, bucket, counted

Counts = Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was counted of one part of a route's requests since counting began."""

    route: str
    """`project/name` of the address that they came to, or MIRROR for copies."""
    share: str = ""
    """Whom they were for: `project/service`, or `project/service#3`; empty when that was not decided."""
    revision: int = 0
    """Of the replica that answered; 0 when none was reached."""
    codes: Counts = field(default_factory=dict)
    """HTTP code to count, without gRPC calls."""
    calls: Counts = field(default_factory=dict)
    """gRPC status to count."""
    microseconds: int = 0
    """All times together."""
    times: Counts = field(default_factory=dict)
    """Least microseconds of a bin to count; a bin is as wide as one in the second digit of that."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Name of a replica to requests that it answered."""
    source: str = ""
    """Who counted, where several do: a name that is another one whenever counting begins anew."""

    @property
    def name(self) -> str:
        """Tells it from others of one gateway."""
        return f"{self.route} {self.share} {self.revision} {self.source}".rstrip()

    @property
    def part(self) -> Part:
        """Whose requests they are."""
        service = self.share.partition("#")[0] or self.route
        return Part(service, self.revision, "" if service == self.route else self.route)

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.codes.values()) + sum(self.calls.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All tallies of one gateway at one moment."""

    epoch: str
    """Another one means that counting began anew."""
    tallies: tuple[Tally, ...] = ()
    inflight: Mapping[str, int] = field(default_factory=dict)
    """Name of a replica to requests that it has and has not answered."""


def grown(before: Tally | None, after: Tally) -> Tally:
    """What was counted between two looks; everything when counting began anew in between.

    A counter that fell did: no other one may fall.
    """
    if before is None or _fell(before, after):
        return after
    return replace(
        after,
        codes=_difference(before.codes, after.codes),
        calls=_difference(before.calls, after.calls),
        microseconds=after.microseconds - before.microseconds,
        times=_difference(before.times, after.times),
        replicas={
            name: count - before.replicas.get(name, 0)
            for name, count in after.replicas.items()
            if count > before.replicas.get(name, 0)
        },
    )


def window(tally: Tally, *, since: float, until: float) -> Window | None:
    """A tally of what happened in (since, until] as a window; None when nothing did."""
    if not (tally.requests or tally.times or tally.microseconds):
        return None
    histogram = [0] * len(BOUNDS)
    for least, count in tally.times.items():
        histogram[bucket(seconds_of(least))] += count
    return replace(
        counted(tally.codes, tally.calls, first_at=since, last_at=until),
        seconds=until - since,
        histogram=tuple(histogram),
        total_seconds=tally.microseconds / 1e6,
        minimum=min(tally.times) / 1e6 if tally.times else None,
        maximum=(max(tally.times) + _width(max(tally.times))) / 1e6 if tally.times else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one replica was doing when it was looked at."""

    service: str
    """`project/service`."""
    replica: str
    revision: int
    started_at: float
    """Seconds since the epoch."""
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    """Process to the processor time that it has used since it started."""
    memory_bytes: int = 0
    inflight: int = 0
    """Requests that it has and has not answered, as it says itself."""
    queue: int = 0
    """Requests that wait for the model."""
    gpu_ratio: float | None = None
    """The part of its GPUs' time in which they compute now; None when nobody can tell."""


def load(
    before: Sample | None, now: Sample, *, inflight: int, requests: int, since: float, until: float
) -> Load:
    """What a replica used in (since, until], taking what is true at its end as true all the while.

    Of one that ran before anybody looked it is not known how much of its processor time is new.
    """
    begun = max(since, now.started_at)
    known = before.cpu_seconds if before else {}
    fresh = before is not None or now.started_at >= since
    used = math.fsum(max(spent - known.get(each, 0.0), 0.0) for each, spent in now.cpu_seconds.items())
    seconds = max(until - begun, 0.0)
    return Load(
        revision=now.revision,
        seconds=seconds,
        cpu_seconds=used if fresh else 0.0,
        memory_byte_seconds=now.memory_bytes * seconds,
        memory_peak_bytes=now.memory_bytes,
        gpu_seconds=None if now.gpu_ratio is None else now.gpu_ratio * seconds,
        inflight_seconds=max(inflight, now.inflight) * seconds,
        queue_seconds=now.queue * seconds,
        requests=requests,
    )


def _fell(before: Tally, after: Tally) -> bool:
    pairs = ((before.codes, after.codes), (before.calls, after.calls), (before.times, after.times))
    return after.microseconds < before.microseconds or any(
        count < old for then, now in pairs for count, old in _paired(then, now)
    )


def _paired(before: Counts, after: Counts) -> Iterator[tuple[int, int]]:
    return ((after.get(key, 0), count) for key, count in before.items())


def _difference(before: Counts, after: Counts) -> dict[int, int]:
    return {key: n - before.get(key, 0) for key, n in after.items() if n > before.get(key, 0)}


def _width(least: int) -> int:
    """How wide the bin is that begins at so many microseconds: it keeps two digits."""
    return int(10 ** max(len(str(least)) - 2, 0)) if least >= 10 else 1


def seconds_of(least: int) -> float:
    """The middle of the bin that begins at so many microseconds."""
    return (least + _width(least) / 2) / 1e6
