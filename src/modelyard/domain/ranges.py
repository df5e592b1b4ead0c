"""Which bytes of a file a request asks for (RFC 9110, section 14): pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` to before `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Beyond:
    """The file has none of the bytes that were asked for."""


def choose(header: str | None, size: int) -> Span | Beyond | None:
    """What to answer to a `Range` of a file with so many bytes; None for all of it.

    What is no range of bytes, and several ranges at once, are answered with the whole file, as the RFC
    allows.
    """
    found = _ONE.fullmatch(header.strip()) if header else None
    if found is None or found.group(1) == found.group(2) == "":
        return None
    if not found[1]:
        last = int(found[2])
        return Span(max(0, size - last), size) if last and size else Beyond()
    start, end = int(found[1]), int(found[2]) + 1 if found[2] else size
    if end <= start and found[2]:
        return None  # not a valid range, so as if there were none
    return Span(start, min(end, size)) if start < size else Beyond()


def still_holds(if_range: str | None, etag: str) -> bool:
    """Whether a range may be answered: the client's part is of the same file."""
    return if_range is None or if_range.strip() == etag


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has the file already."""
    if if_none_match is None:
        return False
    known = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in known or etag in known
