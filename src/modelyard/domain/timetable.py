"""How many replicas there should be by the clock: `9~21:3,21~9:0` is three by day and none at night."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelyard.domain.errors import FieldError, Invalid

HOURS = 24
MOST_REPLICAS = 1000
_RANGE = re.compile(r"(\d{1,2})~(\d{1,2}):(\d{1,4})")


@dataclass(frozen=True, slots=True)
class Range:
    """Some hours of every day; one that ends before it begins goes over midnight."""

    begin: int
    end: int
    replicas: int

    def holds(self, hour: int) -> bool:
        """Whether the hour, 0 to 23, belongs to it."""
        if self.begin < self.end:
            return self.begin <= hour < self.end
        return hour >= self.begin or hour < self.end

    def __str__(self) -> str:
        return f"{self.begin}~{self.end}:{self.replicas}"


def parse(text: str, path: str = "spec.autoscaling.cron") -> tuple[Range, ...]:
    """The ranges of a text such as `9~21:1,21~9:0`; raises Invalid, also for two that overlap."""
    ranges = tuple(_range(part.strip(), path) for part in text.split(",")) if text.strip() else ()
    for hour in range(HOURS):
        here = [each for each in ranges if each.holds(hour)]
        if len(here) > 1:
            raise _wrong(path, f"{here[0]} and {here[1]} both hold {hour} h; let ranges not overlap")
    return ranges


def at(ranges: tuple[Range, ...], hour: int) -> Range | None:
    """The range that counts in this hour; None when the clock says nothing.

    It depends on the hour alone: asked twice it says the same, and a clock that jumps repeats nothing.
    """
    return next((each for each in ranges if each.holds(hour)), None)


def _range(text: str, path: str) -> Range:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise _wrong(path, f"{text[:40]!a} is not a range; write FROM~TO:REPLICAS in whole hours, as 9~21:1")
    begin, end, replicas = (int(number) for number in found.groups())
    if begin >= HOURS or end > HOURS or begin == end:
        raise _wrong(path, f"{text}: hours go from 0 to 24, and a range ends at another hour than it begins")
    if replicas > MOST_REPLICAS:
        raise _wrong(path, f"{text}: at most {MOST_REPLICAS} replicas")
    return Range(begin, end, replicas)


def _wrong(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
