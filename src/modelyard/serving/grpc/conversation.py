"""Calls with any number of messages: each handed on as it comes, no faster than they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from modelyard.oip.tensor import Raw
from modelyard.serving.errors import Problem, unavailable
from modelyard.serving.grpc.framing import Unframer, inflated, prefix
from modelyard.serving.grpc.head import CallHead
from modelyard.serving.grpc.status import HEAD, OK, header_fields, trailers
from modelyard.serving.http2.stream import MOST_UNSENT, Stream


class Talker(Protocol):
    """What a method does with the messages of one call; every call may raise Problem, which ends it."""

    @property
    def is_full(self) -> bool:
        """Whether it wants no more messages for now."""

    def message(self, message: Raw) -> None:
        """The next message."""

    def complete(self) -> None:
        """No more messages come."""

    def leaving(self) -> None:
        """The server ends."""

    def gone(self) -> None:
        """The client has gone."""


class Conversation:
    """One call with streams of messages."""

    def __init__(self, head: CallHead, stream: Stream, *, limit_bytes: int, fields: bytes) -> None:
        self.head = head
        self._stream = stream
        self._limit = limit_bytes
        self._fields = fields
        self._unframer = Unframer(limit_bytes)
        self._talker: Talker | None = None
        self._begun = False
        self._completed = False
        self._draining = False
        self.ended = False
        self.waits_since = 0.0

    def attach(self, talker: Talker) -> None:
        """Hand messages to this method from now on."""
        self._talker = talker

    # What the connection calls.

    @property
    def is_full(self) -> bool:
        """Whether the client had better wait."""
        return self._talker is not None and self._talker.is_full

    @property
    def received(self) -> int:
        """Bytes of messages that wait."""
        return self._unframer.have

    def data(self, payload: Raw) -> None:
        """A piece of a message, or of several."""
        if not self.ended:
            self._unframer.feed(payload)
            self._drain()

    def complete(self) -> None:
        """The client has said everything."""
        self._completed = True
        self._drain()

    def late(self) -> None:
        """The rest of a message did not come in time."""
        self.fail(Problem(408, "timed_out", "the message did not arrive in time"))

    def drained(self) -> None:
        """The client has taken what had to wait: go on with what has come meanwhile."""
        self.resume()

    def leaving(self) -> None:
        """The server ends."""
        if self._talker is not None:
            self._talker.leaving()

    def gone(self) -> None:
        """The client has gone."""
        self.ended = True
        if self._talker is not None:
            self._talker.gone()

    # What the method calls.

    @property
    def is_behind(self) -> bool:
        """Whether the client is slow to take answers."""
        return self._stream.unsent_bytes > MOST_UNSENT

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._stream.unsent_bytes

    def begin(self) -> None:
        """Let the client know that the call is taken."""
        if not self._begun and not self.ended:
            self._begun = True
            self._stream.begin(HEAD + self._fields)

    def say(self, parts: Sequence[Raw]) -> None:
        """Send a message."""
        if not self.ended:
            self.begin()
            self._stream.write((prefix(sum(map(len, parts))), *parts))

    def resume(self) -> None:
        """The method takes messages again."""
        if not self.ended:
            self._drain()
            self._stream.resume()

    def finish(self) -> None:
        """End the call; it went well."""
        if not self.ended:
            self.begin()
            self.ended = True
            self._stream.finish(OK)

    def fail(self, problem: Problem) -> None:
        """End the call; it did not."""
        if self.ended:
            return
        self.ended = True
        if self._begun:
            self._stream.finish(trailers(problem))
        else:
            self._stream.answer_head(HEAD + self._fields + header_fields(problem) + trailers(problem))
        if self._talker is not None:
            self._talker.gone()

    def leave(self) -> None:
        """End the call because the server ends."""
        self.fail(unavailable("the replica is leaving: call again", safe=True))

    # How it works.

    def _drain(self) -> None:
        talker = self._talker
        if talker is None or self._draining:
            return
        self._draining = True
        try:
            self._take(talker)
        except Problem as problem:
            self.fail(problem)
        finally:
            self._draining = False

    def _take(self, talker: Talker) -> None:
        while not self.ended and not talker.is_full:
            found = self._unframer.next()
            if found is None:
                break
            compressed, message = found
            talker.message(inflated(message, self.head.window, self._limit) if compressed else message)
        partial = self._unframer.have > 0 and not talker.is_full
        self.waits_since = asyncio.get_running_loop().time() if partial else 0.0
        if self._completed and not self.ended and not talker.is_full:
            if partial:
                raise Problem(400, "invalid", "the call ended in the middle of a message")
            talker.complete()
