"""Shadow comparison: what two revisions answered to the same requests, and the sum of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from modelyard.domain import agreement, wire
from modelyard.domain.agreement import Difference, Values

MOST_WORST = 20
"""So many of the worst disagreements are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One answered request, as a replica's front remembers it."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    id: str
    """Given by the gateway, the same for both copies of a request."""
    at: float
    """When it was answered."""
    seconds: float
    rows: int
    size: int
    """Bytes of its inputs."""
    outputs: tuple[Values, ...]
    inputs: tuple[Values, ...] = ()
    """Only where the deployment's strategy keeps inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputReport:
    """How much one output differs."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    elements: int = 0
    flips: int = 0
    """Elements of another class, or beyond the tolerance."""
    compared: int = 0
    """Classes, or numbers, that were compared for `flips`."""
    total_error: float = 0.0
    max_error: float = 0.0

    @property
    def mean_error(self) -> float:
        """Mean absolute error over all elements."""
        return self.total_error / self.elements if self.elements else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """One request to which the answers differ most."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    id: str
    at: float
    flipped: float
    """Part of its rows whose answers disagree."""
    max_error: float
    rows: int
    size: int
    inputs: tuple[Values, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What comparing the copies of requests has shown so far."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    service: str
    base: int
    revision: int
    until: float = 0.0
    """Pairs that were complete by then have been counted."""
    pairs: int = 0
    rows: int = 0
    flipped_rows: int = 0
    disagreeing: int = 0
    """Pairs in which any row disagrees."""
    base_seconds: float = 0.0
    """All times to an answer together, of the base's."""
    new_seconds: float = 0.0
    outputs: tuple[OutputReport, ...] = ()
    worst: tuple[Worst, ...] = ()
    """Worst first."""

    @property
    def flip_rate(self) -> float:
        """Part of the rows that got another class, or a number beyond the tolerance."""
        return self.flipped_rows / self.rows if self.rows else 0.0

    @property
    def latency_delta_seconds(self) -> float:
        """How much longer the new revision took, in the mean."""
        return (self.new_seconds - self.base_seconds) / self.pairs if self.pairs else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The report with what is new, and of each new pair the part of its rows that agree."""

    report: Report
    agreements: tuple[float, ...] = field(default=())


def compare(
    report: Report,
    base: Iterable[Sample],
    new: Iterable[Sample],
    *,
    tolerance: float,
    until: float,
) -> Compared:
    """Count every pair that became complete after what was counted before, up to `until`.

    The samples may be all that the fronts still remember: what was counted is told by time. An id that one
    revision has twice is nobody's, as its copies cannot be told apart.
    """
    ours, theirs = _by_id(new), _by_id(base)
    agreements: list[float] = []
    for identity in sorted(ours.keys() & theirs.keys()):
        old, fresh = theirs[identity], ours[identity]
        if not report.until < max(old.at, fresh.at) <= until:
            continue
        differences = agreement.differences(old.outputs, fresh.outputs, tolerance=tolerance)
        flipped = agreement.flipped_rows(differences)
        rows = max(old.rows, 1)
        agreements.append(1 - flipped / rows)
        report = _with(report, old, fresh, differences, flipped, rows)
    return Compared(report=replace(report, until=max(until, report.until)), agreements=tuple(agreements))


def _with(
    report: Report, old: Sample, new: Sample, found: Sequence[Difference], flipped: int, rows: int
) -> Report:
    worst = max((each.max_error for each in found), default=0.0)
    entry = Worst(
        id=old.id,
        at=old.at,
        flipped=flipped / rows,
        max_error=worst,
        rows=rows,
        size=old.size,
        inputs=old.inputs,
    )
    keep = [*report.worst, *([entry] if flipped or worst else [])]
    keep.sort(key=lambda each: (-each.flipped, -each.max_error, each.id))
    return replace(
        report,
        pairs=report.pairs + 1,
        rows=report.rows + rows,
        flipped_rows=report.flipped_rows + flipped,
        disagreeing=report.disagreeing + bool(flipped),
        base_seconds=report.base_seconds + old.seconds,
        new_seconds=report.new_seconds + new.seconds,
        outputs=tuple(_summed({o.name: o for o in report.outputs}, found)),
        worst=tuple(keep[:MOST_WORST]),
    )


def _summed(known: Mapping[str, OutputReport], found: Sequence[Difference]) -> Iterable[OutputReport]:
    fresh = {each.name: each for each in found}
    for name in sorted(known.keys() | fresh.keys()):
        before, now = known.get(name, OutputReport(name=name)), fresh.get(name)
        if now is None:
            yield before
            continue
        yield OutputReport(
            name=name,
            elements=before.elements + now.elements,
            flips=before.flips + now.flips,
            compared=before.compared + now.compared,
            total_error=before.total_error + now.total_error,
            max_error=max(before.max_error, now.max_error),
        )


def _by_id(samples: Iterable[Sample]) -> dict[str, Sample]:
    found: dict[str, Sample] = {}
    twice: set[str] = set()
    for sample in samples:
        if sample.id in found:
            twice.add(sample.id)
        found[sample.id] = sample
    return {identity: sample for identity, sample in found.items() if identity not in twice}
