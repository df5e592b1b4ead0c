"""When something is to happen again, as cron writes it; what a cluster would refuse is refused by field."""

from __future__ import annotations

import re
import zoneinfo

from modelyard.domain.errors import FieldError, Invalid

_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of the week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_WORDS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>[1-9]\d?))?")


def require(schedule: str, time_zone: str) -> None:
    """Nothing for times that a cluster takes; else Invalid that names the option and the field."""
    if schedule not in _WORDS:
        _require_fields(schedule)
    try:
        zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        _refuse("--time-zone", f"{time_zone!r} is no time zone; write such as `Europe/Berlin` or `UTC`")


def _require_fields(schedule: str) -> None:
    given = schedule.split()
    if len(given) != len(_FIELDS):
        names = ", ".join(name for name, *_ in _FIELDS)
        message = f"{schedule!r} has {len(given)} fields and not five ({names}), as in `0 6 * * 1-5`"
        _refuse("--schedule", message)
    for text, (name, low, high, words) in zip(given, _FIELDS, strict=True):
        for part in text.split(","):
            if not _is_part(part, low, high, words):
                _refuse("--schedule", f"{part!r} is no {name}; write {low} to {high}, `*`, `1-5` or `*/2`")


def _is_part(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    match = _PART.fullmatch(part)
    if match is None:
        return False
    if match["first"] == "*":
        return match["last"] is None
    ends = [_number(text, low, words) for text in (match["first"], match["last"]) if text is not None]
    known = [end for end in ends if end is not None and low <= end <= high]
    return len(known) == len(ends) and known == sorted(known)


def _number(text: str, low: int, words: tuple[str, ...]) -> int | None:
    if text.lower() in words:
        return low + words.index(text.lower())
    return int(text) if text.isdecimal() and len(text) < 3 else None


def _refuse(option: str, message: str) -> None:
    raise Invalid(f"{option}: {message}", errors=[FieldError(option, message)])
