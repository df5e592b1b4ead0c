"""How amounts are written: cores, bytes and GPUs as text, and back for messages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from math import ceil
from typing import NoReturn

from modelyard.domain.errors import FieldError, Invalid

_NUMBER = re.compile(r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,18})?)(?P<unit>[A-Za-z]*)")
_BYTES: dict[str, int] = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P"), start=1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([smhd]?)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_MOST_MILLIS = 10_000 * 1000
_MOST_BYTES = 1024**5


def parse_cpu(text: str, path: str) -> int:
    """Thousandths of a core for `0.5`, `500m` or `2`; raises Invalid that names `path`."""
    remedy = "write cores as a decimal such as `0.5`, or thousandths such as `500m`; `0` reserves nothing"
    match = _NUMBER.fullmatch(text)
    if not match or match["unit"] not in ("", "m"):
        _refuse(path, f"{_shown(text)} is not an amount of CPU; {remedy}")
    millis = Fraction(match["number"]) * (1 if match["unit"] else 1000)
    if millis.denominator != 1:
        _refuse(path, f"{_shown(text)} is finer than a thousandth of a core; {remedy}")
    if millis > _MOST_MILLIS:
        _refuse(path, f"{_shown(text)} is more than 10000 cores; {remedy}")
    return int(millis)


def parse_memory(text: str, path: str) -> int:
    """Bytes for `512Mi`, `1G` or `1024`, rounded up; raises Invalid that names `path`."""
    remedy = "write bytes with a unit such as `512Mi` or `1Gi`; `0` reserves nothing"
    match = _NUMBER.fullmatch(text)
    if not match or match["unit"] not in _BYTES:
        _refuse(path, f"{_shown(text)} is not an amount of memory; {_memory_hint(match)}{remedy}")
    size = ceil(Fraction(match["number"]) * _BYTES[match["unit"]])
    if size > _MOST_BYTES:
        _refuse(path, f"{_shown(text)} is more than 1Pi; {remedy}")
    return size


def parse_seconds(text: str, path: str) -> float:
    """A duration such as `60`, `60s`, `5m`, `1h` or `7d` in seconds; raises Invalid."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if not 0 < seconds < 1e9:
        _refuse(path, f"{_shown(text)} is not a usable duration; write it as 60s, 5m, 1h or 7d")
    return seconds


def parse_moment(text: str, path: str, *, now: float) -> float:
    """A time such as `2026-03-01T12:00:00Z`, or how long ago it was; in seconds since the epoch."""
    if _DURATION.fullmatch(text):
        return now - parse_seconds(text, path)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        _refuse(
            path, f"{_shown(text)} is neither a time such as 2026-03-01T12:00:00Z nor a duration such as 1h"
        )


def format_cpu(millis: int) -> str:
    """Cores for people: 1500 is `1.5`."""
    return f"{millis / 1000:.3f}".rstrip("0").rstrip(".")


def format_memory(size: int) -> str:
    """Bytes for people, rounded down to a tenth of a binary unit: `3Gi`, `1.2Gi`, `512Mi`."""
    for unit in ("Pi", "Ti", "Gi", "Mi", "Ki"):
        if abs(size) >= _BYTES[unit]:
            tenths = size * 10 // _BYTES[unit]
            return f"{tenths / 10:.1f}".removesuffix(".0") + unit
    return str(size)


def _memory_hint(match: re.Match[str] | None) -> str:
    """What the writer most likely meant, when the unit alone is wrong."""
    if match:
        unit = match["unit"].upper().removesuffix("B").removesuffix("I")
        if unit and unit in "KMGTP":
            return f"did you mean `{match['number']}{unit}i`? "
    return ""


def _shown(text: str) -> str:
    """The value as an error may repeat it: quoted and short."""
    return ascii(text if len(text) <= 40 else text[:40] + "…")


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
