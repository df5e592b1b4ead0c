"""Protocol-buffer text, as far as a model's config.pbtxt uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.formats.bytesview import Damaged

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[A-Za-z0-9_.+-]+)"""
    r"""|(?P<sign>[{}\[\]:,;<>])"""
)

Message = Mapping[str, list[Any]]
"""Field name to its values in order; a message is a Message, everything else a text."""


def parse(text: str) -> Message:
    """The fields of a message. Raises Damaged with the line of what is not understood."""
    if len(text) > MAX_BYTES:
        raise Damaged(f"it is larger than {MAX_BYTES} bytes")
    tokens = _Tokens(text)
    found = _fields(tokens, end="", depth=0)
    return found


class _Tokens:
    """Words and signs, one at a time, with a look ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.line = 1
        self._stream = self._split()
        self.next = next(self._stream, "")

    def take(self) -> str:
        """The next token; empty at the end."""
        token, self.next = self.next, next(self._stream, "")
        return token

    def refuse(self, what: str) -> Damaged:
        """The error for what stands here."""
        return Damaged(f"line {self.line}: {what}, found {self.next[:40]!r}")

    def _split(self) -> Iterator[str]:
        at = 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            self.line = self._text.count("\n", 0, at) + 1
            if match is None:
                raise Damaged(f"line {self.line}: {self._text[at : at + 20]!r} is not protocol-buffer text")
            at = match.end()
            if match.lastgroup:
                yield match.group()


def _fields(tokens: _Tokens, *, end: str, depth: int) -> Message:
    if depth > MAX_DEPTH:
        raise tokens.refuse(f"more than {MAX_DEPTH} messages in one another")
    found: dict[str, list[Any]] = {}
    while tokens.next != end:
        name = tokens.take()
        if not name or name in "{}[]:,;<>":
            raise tokens.refuse("a field's name was expected before this")
        found.setdefault(name, []).extend(_values(tokens, depth))
        if tokens.next in (",", ";"):
            tokens.take()
    tokens.take()
    return found


def _values(tokens: _Tokens, depth: int) -> list[Any]:
    if tokens.next == ":":
        tokens.take()
    if tokens.next != "[":
        return [_value(tokens, depth)]
    tokens.take()
    found = []
    while tokens.next != "]":
        found.append(_value(tokens, depth))
        if tokens.next == ",":
            tokens.take()
    tokens.take()
    return found


def _value(tokens: _Tokens, depth: int) -> Any:
    first = tokens.take()
    match first:
        case "{":
            return _fields(tokens, end="}", depth=depth + 1)
        case "<":
            return _fields(tokens, end=">", depth=depth + 1)
        case "" | "}" | "]" | ":" | "," | ";" | ">" | "[":
            raise tokens.refuse("a value was expected before this")
    return first[1:-1] if first[0] in "\"'" else first
