"""What a task told at the end of its log: collected line by line, and unpacked within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from modelyard.backends.kubernetes import inflating
from modelyard.backends.kubernetes.client.logs import line_of

MOST_LOG = 64 << 20
"""Characters of a log that are looked through."""
MOST_UNPACKED = 16 << 20
"""Bytes of an outcome: what a task may say and print, as JSON that escapes every character."""
Outcome = Mapping[str, Any]


async def collected(lines: AsyncIterator[str], marker: str) -> str:
    """The packed outcome out of a log that is read to its end; empty when it has none, or not all of one."""
    chunks: dict[int, str] = {}
    total = size = 0
    async for text in lines:
        line = line_of(text, "").text
        size += len(line)
        if size >= MOST_LOG or not line.startswith(f"{marker} "):
            continue
        numbers, _, chunk = line.removeprefix(f"{marker} ").partition(" ")
        number, _, of = numbers.partition("/")
        if len(numbers) < 20 and number.isdecimal() and of.isdecimal():
            chunks[int(number)], total = chunk, int(of)
    return "".join(chunks[n] for n in sorted(chunks)) if total and len(chunks) == total else ""


def unpacked(text: str, *, most_bytes: int = MOST_UNPACKED) -> Outcome | None:
    """The outcome; None for what is none, or would be larger than any can be.

    Takes a moment, so it is nothing for an event loop.
    """
    try:
        found = inflating.document(text, most_bytes=most_bytes)
    except ValueError:
        return None
    return found if isinstance(found, dict) and _is_sound(found) else None


def _is_sound(found: Outcome) -> bool:
    """Whether everything in it is of the type that it should be."""
    stored = found.get("files", [])
    numbers = found.get("code", 0), found.get("seconds", 0.0)
    return (
        all(isinstance(each, (int, float)) for each in numbers)
        and isinstance(stored, list)
        and all(_is_file(each) for each in stored)
        and (not found.get("result") or _is_file(found["result"]))
    )


def _is_file(found: object) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("path"), str)
        and isinstance(found.get("size"), int)
        and isinstance(found.get("sha256"), str)
    )
