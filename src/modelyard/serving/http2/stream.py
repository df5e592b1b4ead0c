"""One stream: a request on its way in, its answer on its way out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from modelyard.oip.tensor import Raw
from modelyard.serving.http2.frames import NO_ERROR

RECEIVE_WINDOW = 1 << 20
"""Bytes that a client may send on a stream before we have read them."""
MOST_UNSENT = 1 << 20
"""A stream on which more than this waits to be sent is not read from."""


class Receiver(Protocol):
    """What takes a request as it comes."""

    @property
    def is_full(self) -> bool:
        """Whether it wants no more for now."""

    @property
    def waits_since(self) -> float:
        """Since when it waits for the rest of something begun, on the loop's clock; 0 when it does not."""

    @property
    def received(self) -> int:
        """Bytes of what it waits for that have come."""

    def data(self, payload: Raw) -> None:
        """A piece of the body."""

    def complete(self) -> None:
        """The body is whole."""

    def late(self) -> None:
        """The rest did not come in time: answer accordingly."""

    def drained(self) -> None:
        """The client has taken what had to wait."""

    def leaving(self) -> None:
        """The server ends: what has no end of its own comes to one."""

    def gone(self) -> None:
        """The client has taken its request back, or has gone."""


class Out(Protocol):
    """Where a stream's answer goes."""

    initial_window: int

    def headers(self, stream: Stream, block: bytes, *, end: bool) -> None:
        """Send a header block."""

    def answer(self, stream: Stream, block: bytes, parts: Sequence[Raw], trailers: bytes) -> None:
        """Send a whole answer."""

    def data(self, stream: Stream, parts: Sequence[Raw]) -> None:
        """Send a piece of a body."""

    def pump(self, stream: Stream) -> None:
        """Send what is due."""


class Owner(Protocol):
    """Who knows all streams of a connection."""

    def refill(self, stream: Stream) -> None:
        """Let the client send more."""

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream at once."""


_NOTHING: deque[Raw] = deque()


class Stream:
    """One stream of a connection, until both sides have said their last."""

    # What most streams never have is the class's own until it is set.
    receiver: Receiver | None = None
    announced = -1
    """The body's length as the client gave it; -1 when it did not."""
    received = 0
    held = 0
    """Bytes of it that are kept until more has come."""
    receive_window = RECEIVE_WINDOW
    closed_by_client = False
    closed_by_us = False
    lingers = False
    """What the client sends after our last word is read for a while: it may not listen before."""
    unsent: deque[Raw] = _NOTHING
    """What the client does not take yet; the class's own stays empty."""
    unsent_bytes = 0
    trailers: bytes | None = None
    """What follows the unsent data and ends the stream; an empty one ends it with the data."""
    progress_at = 0.0
    """When something was last sent, on the loop's clock, while something waits; or when all was."""

    def __init__(self, owner: Owner, out: Out, identity: int) -> None:
        self.owner = owner
        self.out = out
        self.identity = identity
        self.send_window = out.initial_window

    def begin(self, block: bytes) -> None:
        """Send the headers of an answer whose body follows."""
        if not self.closed_by_us:
            self.out.headers(self, block, end=False)

    def write(self, parts: Sequence[Raw]) -> None:
        """Send a piece of the body."""
        if not self.closed_by_us:
            self.out.data(self, parts)

    def finish(self, trailers: bytes = b"") -> None:
        """End the answer, with trailers or without."""
        if not self.closed_by_us:
            self.trailers = trailers
            self.out.pump(self)

    def answer(self, block: bytes, parts: Sequence[Raw], trailers: bytes) -> None:
        """A whole answer."""
        if not self.closed_by_us:
            self.out.answer(self, block, parts, trailers)

    def answer_head(self, block: bytes) -> None:
        """An answer that is nothing but headers."""
        if not self.closed_by_us:
            self.out.headers(self, block, end=True)

    def resume(self) -> None:
        """The receiver wants more again."""
        self.owner.refill(self)

    def reset(self, code: int = NO_ERROR) -> None:
        """Take no more and send no more."""
        self.owner.reset(self, code)
