"""What was measured of a service, in numbers for people and programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from modelyard.domain import observation, wire
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.observation import KEEP, Usage, Window

MOST_POINTS = 2000
_USUAL_POINTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Requests of an interval. Times are known to the bucket, bounds of which are about a fifth apart."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    requests: int = 0
    requests_per_second: float = 0.0
    codes: dict[str, int] = field(default_factory=dict)
    """HTTP code to count; gRPC calls are under the code that means what their status does, 0 is no answer."""
    calls: dict[str, int] = field(default_factory=dict)
    """gRPC status to count, of those among the requests that were gRPC calls."""
    errors: int = 0
    """Requests that the service is to blame for: 5xx, no answer, and gRPC's statuses of that meaning."""
    error_rate: float = 0.0
    mean_seconds: float | None = None
    median_seconds: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    p95_seconds: float | None = None
    p99_seconds: float | None = None
    first_access: datetime | None = None
    """Of the interval, to a few seconds."""
    last_access: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of an interval."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    at: datetime
    """When the step begins."""
    figures: Figures
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionFigures:
    """Requests that replicas of one revision answered; revision 0 is what reached none."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    revision: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFigures:
    """What one replica used, on average while it was watched."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    replica: str
    revision: int
    requests: int
    memory_peak_bytes: int
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What a service did in an interval, as the platform kept it."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    service: str
    since: datetime
    until: datetime
    step_seconds: float
    total: Figures
    usage: Usage
    """Of all replicas together."""
    revisions: tuple[RevisionFigures, ...] = ()
    endpoints: dict[str, Figures] = field(default_factory=dict)
    """Of the requests that came through another address than the service's own, by that."""
    mirrored: Figures | None = None
    """Copies that it was sent, which are not among the others; None when there were none."""
    points: tuple[Point, ...] = ()
    replicas: tuple[ReplicaFigures, ...] = ()


def figures(window: Window) -> Figures:
    """The numbers of a window."""
    return Figures(
        requests=window.requests,
        requests_per_second=window.requests / window.seconds if window.seconds > 0 else 0.0,
        codes={str(code): count for code, count in window.codes},
        calls={str(status): count for status, count in window.calls},
        errors=window.errors,
        error_rate=window.error_rate,
        mean_seconds=window.mean,
        median_seconds=window.quantile(0.5),
        min_seconds=window.minimum,
        max_seconds=window.maximum,
        p95_seconds=window.quantile(0.95),
        p99_seconds=window.quantile(0.99),
        first_access=_moment(window.first_at),
        last_access=_moment(window.last_at),
    )


def grouped(windows: Iterable[tuple[Any, Window]], *, seconds: float) -> Mapping[Any, Figures]:
    """Figures by group, sorted by group, all over the same interval."""
    groups: dict[Any, list[Window]] = {}
    for group, window in windows:
        groups.setdefault(group, []).append(window)
    return {
        group: figures(observation.merged(found, seconds=seconds)) for group, found in sorted(groups.items())
    }


def steps(since: float, until: float, step: float) -> Sequence[tuple[float, float]]:
    """The interval in steps that begin at whole multiples of `step`, the first and the last cut short."""
    found = []
    begin = since
    while begin < until:
        end = min((begin // step + 1) * step, until)
        found.append((begin, end))
        begin = end
    return found


def step_for(since: float, until: float, step: float | None, *, now: float) -> float:
    """The step to answer in; without a wish one that gives about sixty points. Raises Invalid."""
    kept = next((length for length, keep in KEEP if since >= now - keep), KEEP[-1][0])
    if until <= since:
        raise _invalid("since", "must be before until")
    if step is None:
        return float(next((s for s in _STEPS if s >= max(kept, (until - since) / _USUAL_POINTS)), _STEPS[-1]))
    if step < KEEP[0][0]:
        raise _invalid("step", f"must be at least {KEEP[0][0]} seconds, got {step:g}")
    if (until - since) / step > MOST_POINTS:
        raise _invalid("step", f"makes more than {MOST_POINTS} points of the interval; choose a longer one")
    return step


_STEPS = (10, 30, 60, 300, 600, 1800, 3600, 6 * 3600, 86_400)


def points(
    every: Sequence[tuple[float, float]],
    window_of: Callable[[float, float], Window],
    usage_of: Callable[[float, float], Usage],
) -> tuple[Point, ...]:
    """One for each step."""
    return tuple(
        Point(
            at=datetime.fromtimestamp(begin, UTC),
            figures=figures(window_of(begin, end)),
            usage=usage_of(begin, end),
        )
        for begin, end in every
    )


def _moment(at: float) -> datetime | None:
    return datetime.fromtimestamp(at, UTC) if at else None


def _invalid(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", errors=[FieldError(path, message)])
