"""Shortcuts: requests whose head equals an earlier one's, but for the length of the body, are not parsed.

They go straight to whoever said, when the earlier one came, how such requests are answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from modelyard.serving.http.messages import Exchange, Nowhere

MOST = 128
"""Heads that are remembered of all connections together."""
MOST_HEAD_BYTES = 4096
MOST_BYTES = 32768
"""Of the heads for different lengths of one request's body."""
MOST_REQUEST_BYTES = 1 << 18
"""Larger requests do not come in one piece."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)


class Planned(Protocol):
    """How requests with one head are answered."""

    def begin(self, seat: Any, body: bytes, now: float) -> bool:
        """Take a request; False leaves it to be read and answered as any other."""


Planner = Callable[[Exchange], Planned | None]
"""Says how requests with the head of this one are answered; None for the usual way."""


def no_plan(first: Exchange) -> Planned | None:
    """The usual way for everything."""
    del first
    return None


class Shortcut:
    """Requests with one head."""

    __slots__ = ("_after", "_before", "_heads", "_limit", "begin")

    def __init__(self, before: bytes, after: bytes, planned: Planned, limit: int) -> None:
        self._before = before
        self._after = after
        self._limit = limit
        self._heads: dict[int, bytes] = {}
        """The head of each request by the bytes of head and body together."""
        self.begin = planned.begin

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if this is one whole request with the head; else None."""
        head = self._heads.get(len(data))
        if head is None:
            head = self._head_for(len(data))
        return data[len(head) :] if head and data.startswith(head) else None

    def _head_for(self, size: int) -> bytes:
        """The head of a request of so many bytes, like the first one's; empty when there can be none."""
        rest = size - len(self._before) - len(self._after)
        if not 0 < rest <= min(MOST_REQUEST_BYTES, self._limit):
            return b""
        lengths = [b"%d" % (rest - digits) for digits in range(1, 8) if rest > digits]
        fitting = [length for length in lengths if len(length) + int(length) == rest]
        head = self._before + fitting[0] + self._after if fitting else b""
        if len(self._heads) * (len(self._before) + len(self._after)) >= MOST_BYTES:
            self._heads.clear()
        self._heads[size] = head
        return head


class Shortcuts:
    """The shortcuts of all connections of a server."""

    def __init__(self, planner: Planner, limit: int) -> None:
        self._planner = planner
        self._limit = limit
        self._known: dict[tuple[bytes, bytes], Shortcut | None] = {}

    def find(self, head: bytes, exchange: Exchange) -> Shortcut | None:
        """The shortcut of requests like this one, which came whole and alone with this head."""
        if exchange.method != "POST" or len(head) > MOST_HEAD_BYTES:
            return None
        places = list(_LENGTH.finditer(head))
        if len(places) != 1 or places[0][1] != b"%d" % len(exchange.body):
            return None
        start, end = places[0].span(1)
        around = head[:start], head[end:]
        if around not in self._known:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[around] = self._made(around, exchange)
        return self._known[around]

    def _made(self, around: tuple[bytes, bytes], exchange: Exchange) -> Shortcut | None:
        # Only a head: nothing of it may hold the connection that it came on.
        first = Exchange(Nowhere())
        first.method, first.target, first.headers = exchange.method, exchange.target, exchange.headers.copy()
        planned = self._planner(first)
        return None if planned is None else Shortcut(*around, planned, self._limit)
