"""What a service did in an interval: requests with their codes and times, and what its replicas used."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add as plus
from typing import Any, ClassVar

from modelyard.domain import wire

_STEPS = ("1.0", "1.2", "1.5", "1.8", "2.2", "2.7", "3.3", "3.9", "4.7", "5.6", "6.8", "8.2")

BOUNDS: tuple[float, ...] = (
    *(float(f"{step}e{exponent}") for exponent in range(-4, 3) for step in _STEPS),
    1000.0,
    math.inf,
)
"""Upper bounds in seconds of a window's buckets: twelve for each power of ten, with two digits like the
gateway's own, which therefore fit into them whole."""

NO_ANSWER = 0
"""Code of a request that ended without an answer: its client left, or its connection was lost."""

_CALLS = {
    0: 200,
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 404,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
"""What a gRPC status is among HTTP's codes. A method that does not exist is the caller's mistake."""


def code_of_call(status: int) -> int:
    """The HTTP code that means what this gRPC status means; one that nobody knows is the server's fault."""
    return _CALLS.get(status, 500)


def is_error(code: int) -> bool:
    """Whether the service is to blame for it: 5xx, or no answer at all."""
    return code >= 500 or code == NO_ANSWER


def bucket(seconds: float) -> int:
    """The index in BOUNDS of the bucket that a time falls into."""
    return bisect_left(BOUNDS, seconds)


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """Which of a service's requests."""

    service: str
    """`project/service` of the deployment whose replicas they were for."""
    revision: int = 0
    """Of the replica that answered; 0 when none was reached."""
    via: str = ""
    """The endpoint they came through, where that is not the service itself; `MIRROR` for copies."""


MIRROR = "mirror"
"""`Part.via` of copies whose answers nobody waits for; names of endpoints have a slash."""

KEEP = ((10, 3600), (60, 86_400), (3600, 30 * 86_400))
"""Seconds of an interval, and for how many seconds intervals of that length are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a service, or one revision of it, answered in an interval."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    seconds: float = 0.0
    """How long the interval is."""
    requests: int = 0
    codes: tuple[tuple[int, int], ...] = ()
    """HTTP code and count, by code; gRPC calls under what their status means; 0 is no answer."""
    calls: tuple[tuple[int, int], ...] = ()
    """gRPC status and count, by status, of those among the requests that were gRPC calls."""
    errors: int = 0
    """Requests that the service is to blame for: 5xx, no answer, and gRPC's statuses of that meaning."""
    histogram: tuple[int, ...] = (0,) * len(BOUNDS)
    """Count of times in each bucket of BOUNDS."""
    total_seconds: float = 0.0
    """All times together."""
    minimum: float | None = None
    """The shortest time, to two digits."""
    maximum: float | None = None
    first_at: float = 0.0
    """Of requests, in seconds since the epoch; 0 when there was none."""
    last_at: float = 0.0

    @property
    def error_rate(self) -> float:
        """The part of the requests that the service failed; 0 when there was none."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def timed(self) -> int:
        """How many requests have a time; a client that left has none."""
        return sum(self.histogram)

    @property
    def mean(self) -> float | None:
        """Seconds a request took on average; None when there was none."""
        timed = self.timed
        return self.total_seconds / timed if timed else None

    def quantile(self, q: float) -> float | None:
        """The time that the part `q` of the requests took at most; None when there was none.

        Right to the bucket: it lies between the bounds of the one that the true quantile is in.
        """
        timed = self.timed
        if not timed:
            return None
        rank, below = q * timed, 0
        for index, count in enumerate(self.histogram):
            if count and below + count >= rank:
                return self._within(index, max(rank - below, 0.0) / count)
            below += count
        return self.maximum

    def _within(self, index: int, part: float) -> float:
        """So far into a bucket, as if its times were spread evenly between what bounds them."""
        low = BOUNDS[index - 1] if index else 0.0
        high = BOUNDS[index]
        if self.minimum is not None and low < self.minimum <= high:
            low = self.minimum
        if self.maximum is not None and low <= self.maximum < high:
            high = self.maximum
        return low if math.isinf(high) else low + (high - low) * part

    def __add__(self, other: Window) -> Window:
        """Both, one after the other."""
        return merged((self, other), seconds=self.seconds + other.seconds)


def merged(windows: Iterable[Window], *, seconds: float | None = None) -> Window:
    """All of them together, over an interval of `seconds`; else one after the other."""
    known = tuple(windows)
    codes: Counter[int] = Counter()
    calls: Counter[int] = Counter()
    for each in known:
        codes.update(dict(each.codes))
        calls.update(dict(each.calls))
    used = [each for each in known if each.requests]
    return Window(
        seconds=math.fsum(each.seconds for each in known) if seconds is None else seconds,
        requests=sum(each.requests for each in known),
        codes=tuple(sorted(codes.items())),
        calls=tuple(sorted(calls.items())),
        errors=sum(each.errors for each in known),
        histogram=tuple(map(sum, zip(*(e.histogram for e in known), strict=True))) or Window().histogram,
        total_seconds=math.fsum(each.total_seconds for each in known),
        minimum=min((e.minimum for e in known if e.minimum is not None), default=None),
        maximum=max((e.maximum for e in known if e.maximum is not None), default=None),
        first_at=min((each.first_at for each in used), default=0.0),
        last_at=max((each.last_at for each in used), default=0.0),
    )


def counted(codes: Mapping[int, int], calls: Mapping[int, int], *, first_at: float, last_at: float) -> Window:
    """A window of requests that are known by their codes; `calls` has the gRPC ones, by status."""
    every = Counter(codes)
    for status, count in calls.items():
        every[code_of_call(status)] += count
    requests = sum(every.values())
    return Window(
        requests=requests,
        codes=tuple(sorted((code, n) for code, n in every.items() if n)),
        calls=tuple(sorted((status, n) for status, n in calls.items() if n)),
        errors=sum(n for code, n in every.items() if is_error(code)),
        first_at=first_at if requests else 0.0,
        last_at=last_at if requests else 0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a replica, or all of a service's, used on average over an interval."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    cpu_cores: float = 0.0
    memory_bytes: int = 0
    gpu_ratio: float | None = None
    """The part of its GPUs' time in which they computed; None when it has none, or nobody can tell."""
    inflight: float = 0.0
    """Requests begun and not yet answered, those that wait included."""
    queue: float = 0.0
    """Requests that wait for the model."""
    requests_per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one replica used while it was watched: sums over time, so that loads can be added."""

    revision: int = 0
    seconds: float = 0.0
    """How long it was watched."""
    cpu_seconds: float = 0.0
    memory_byte_seconds: float = 0.0
    memory_peak_bytes: int = 0
    gpu_seconds: float | None = None
    inflight_seconds: float = 0.0
    queue_seconds: float = 0.0
    requests: int = 0

    def usage(self) -> Usage:
        """The averages while it was watched."""
        if self.seconds <= 0:
            return Usage()
        return Usage(
            cpu_cores=self.cpu_seconds / self.seconds,
            memory_bytes=round(self.memory_byte_seconds / self.seconds),
            gpu_ratio=None if self.gpu_seconds is None else self.gpu_seconds / self.seconds,
            inflight=self.inflight_seconds / self.seconds,
            queue=self.queue_seconds / self.seconds,
            requests_per_second=self.requests / self.seconds,
        )

    def __add__(self, other: Load) -> Load:
        """Both, one after the other."""
        gpu = [each for each in (self.gpu_seconds, other.gpu_seconds) if each is not None]
        return Load(
            revision=max(self.revision, other.revision),
            seconds=self.seconds + other.seconds,
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            memory_byte_seconds=self.memory_byte_seconds + other.memory_byte_seconds,
            memory_peak_bytes=max(self.memory_peak_bytes, other.memory_peak_bytes),
            gpu_seconds=math.fsum(gpu) if gpu else None,
            inflight_seconds=self.inflight_seconds + other.inflight_seconds,
            queue_seconds=self.queue_seconds + other.queue_seconds,
            requests=self.requests + other.requests,
        )


def together(loads: Iterable[Load], *, seconds: float) -> Usage:
    """What all replicas of a service used side by side, on average over `seconds`; a ratio stays one."""
    known = tuple(loads)
    total = reduce(plus, known, Load())
    watched = math.fsum(each.seconds for each in known if each.gpu_seconds is not None)
    usage = replace(total, seconds=seconds).usage()
    return replace(usage, gpu_ratio=(total.gpu_seconds or 0.0) / watched if watched else None)
