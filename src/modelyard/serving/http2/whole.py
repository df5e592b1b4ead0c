"""Calls that come whole, like earlier ones: a known header block and one frame of data right behind it."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Protocol

from modelyard.serving.http2 import frames as h2
from modelyard.serving.http2.headers import Head
from modelyard.serving.http2.incoming import Incoming
from modelyard.serving.http2.outgoing import Outgoing

MOST = 64
"""Heads of one connection that are remembered with what follows from them."""
_HEAD = Struct(">BHBBI")
_DATA = Struct(">BHBBIBI")
"""The head of a frame of data, and the prefix of a gRPC message that fills it."""


class Planned(Protocol):
    """How calls with one head are answered."""

    def begin(self, incoming: Incoming, out: Outgoing, identity: int, message: bytes) -> bool:
        """Take the call on a new stream of this number; False leaves it to be read as any other."""


Planner = Callable[[Head], Planned | None]
"""Says how calls with a head are answered; None for the usual way."""


class WholeCalls:
    """Finds whole calls in what one connection reads."""

    def __init__(self, incoming: Incoming, out: Outgoing, planner: Planner) -> None:
        self._incoming = incoming
        self._out = out
        self._planner = planner
        self._plans: dict[bytes, tuple[Head, Planned | None]] = {}

    def take(self, data: bytes, at: int) -> int:
        """Take the calls that stand at a place one after the other; returns where they end."""
        incoming, end = self._incoming, len(data)
        while end - at > _HEAD.size and incoming.takes_calls:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            body = at + _HEAD.size + low
            if high or kind != h2.HEADERS or flags != h2.END_HEADERS or end - body < _DATA.size:
                break
            plan = self._plan(data[at + _HEAD.size : body])
            if plan is None or stream <= incoming.last_stream or not stream & 1:
                break
            after = self._message_end(data, body, stream)
            message = data[body + _DATA.size : after]
            if not after or not plan.begin(incoming, self._out, stream, message):
                break
            at = after
        return at

    @staticmethod
    def _message_end(data: bytes, at: int, stream: int) -> int:
        """Where the one frame of data ends that must be here; 0 if it is another, or not whole."""
        high, low, kind, flags, same, compressed, size = _DATA.unpack_from(data, at)
        is_whole = kind == h2.DATA and flags == h2.END_STREAM and same == stream
        after: int = at + _HEAD.size + low
        fits = not high and not compressed and size + 5 == low and after <= len(data)
        return after if is_whole and fits else 0

    def _plan(self, block: bytes) -> Planned | None:
        head = self._incoming.known_head(block)
        if head is None:
            return None
        known = self._plans.get(block)
        if known is None or known[0] is not head:
            if len(self._plans) >= MOST:
                self._plans.clear()
            known = self._plans[block] = head, self._planner(head)
        return known[1]
