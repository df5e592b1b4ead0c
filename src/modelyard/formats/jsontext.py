"""JSON documents of any size, looked at piece by piece; deep or truncated ones are refused."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator

from modelyard.formats import limits
from modelyard.formats.bytesview import Damaged

Bytes = mmap.mmap | bytes
STRUCTURE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|"', re.DOTALL)
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
SCALAR = re.compile(rb"[^\s,\]}]{1,64}")
SPACE = re.compile(rb"[ \t\r\n]*")
MAX_PIECE = 16 * limits.MIB
"""Bytes of one value that is read as a whole."""


def members(data: Bytes, start: int = 0) -> Iterator[tuple[str, int]]:
    """Yield each key of the object at `start` with the position of its value. Raises Damaged."""
    at = _skip_space(data, start)
    if data[at : at + 1] != b"{":
        raise Damaged("an object was expected")
    at = _skip_space(data, at + 1)
    while data[at : at + 1] != b"}":
        match = STRING.match(data, at)
        if match is None:
            raise Damaged("it ends too early or is not JSON: a key was expected")
        key = load(data, at)
        at = _skip_space(data, match.end())
        if data[at : at + 1] != b":":
            raise Damaged("it ends too early or is not JSON: `:` was expected")
        value = _skip_space(data, at + 1)
        yield str(key), value
        at = _skip_space(data, end_of(data, value))
        if data[at : at + 1] == b",":
            at = _skip_space(data, at + 1)
        elif data[at : at + 1] != b"}":
            raise Damaged("it ends too early or is not JSON: `,` or `}` was expected")


def load(data: Bytes, start: int) -> object:
    """Return the value at `start` as Python data. Raises Damaged when it is damaged or larger than 16 MiB."""
    piece = data[start : end_of(data, start)]
    if len(piece) > MAX_PIECE:
        raise Damaged(f"one value is larger than {MAX_PIECE} bytes")
    try:
        return json.loads(piece)
    except (ValueError, RecursionError):
        raise Damaged("it is not JSON") from None


def end_of(data: Bytes, start: int) -> int:
    """Return the position after the value at `start`. Raises Damaged when it does not end or is too deep."""
    first = data[start : start + 1]
    if first == b'"':
        match = STRING.match(data, start)
        if match is None:
            raise Damaged("it ends too early: a text has no end")
        return match.end()
    if first not in (b"{", b"["):
        scalar = SCALAR.match(data, start)
        if scalar is None:
            raise Damaged("it ends too early or is not JSON: a value was expected")
        return scalar.end()
    return _end_of_structure(data, start)


def require_nothing_after(data: Bytes, start: int) -> None:
    """Raise Damaged when anything but space follows the value at `start`."""
    at = _skip_space(data, end_of(data, start))
    if at != len(data) and data[at : at + 1] != b"\0":
        raise Damaged("something follows the end of the document")


def _end_of_structure(data: Bytes, start: int) -> int:
    open_brackets: list[bytes] = []
    for match in STRUCTURE.finditer(data, start):
        token = match[0]
        if token in (b"{", b"["):
            open_brackets.append(b"}" if token == b"{" else b"]")
            if len(open_brackets) > limits.MAX_JSON_DEPTH:
                raise Damaged(f"it is nested more than {limits.MAX_JSON_DEPTH} levels deep")
        elif token in (b"}", b"]"):
            if open_brackets.pop() != token:
                raise Damaged("it is not JSON: brackets do not match")
            if not open_brackets:
                return match.end()
        elif token == b'"':
            raise Damaged("it ends too early: a text has no end")
    raise Damaged("it ends too early: a bracket is not closed")


def _skip_space(data: Bytes, at: int) -> int:
    match = SPACE.match(data, at)
    return match.end() if match else at
