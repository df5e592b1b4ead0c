"""Calls with one message each way: the exchange behind each is answered like any other."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import Any

from modelyard.oip.errors import Rejected
from modelyard.oip.tensor import Raw
from modelyard.serving.application import Application
from modelyard.serving.errors import Problem
from modelyard.serving.grpc.framing import Unframer, inflated, prefix
from modelyard.serving.grpc.head import CallHead
from modelyard.serving.grpc.status import HEAD, OK, trailers
from modelyard.serving.http.coding import QUICK_BYTES
from modelyard.serving.http.messages import Exchange, Response, WholeAnswers
from modelyard.serving.http2.headers import fields_of
from modelyard.serving.http2.stream import Stream
from modelyard.serving.routing import Endpoint


class UnaryCall(WholeAnswers):
    """One message in, one out."""

    is_full = False

    def __init__(self, application: Application, endpoint: Endpoint, head: CallHead, stream: Stream) -> None:
        self._application = application
        self._endpoint = endpoint
        self._head = head
        self._stream = stream
        self._limit = application.limit_bytes
        self._unframer = Unframer(self._limit)
        self._message: tuple[bool, Raw] | None = None
        self._exchange = Exchange(self)
        self.waits_since = asyncio.get_running_loop().time()

    @property
    def received(self) -> int:
        """Bytes of the message so far."""
        return self._unframer.have

    def data(self, payload: Raw) -> None:
        """A piece of the message."""
        if self._exchange.answered:
            return
        self._unframer.feed(payload)
        try:
            found = self._unframer.next()
            if found is not None and self._message is None:
                self._message = found
            if self._message is not None and self._unframer.have:
                raise Problem(400, "invalid", "this method takes one message, and there are more")
        except Problem as problem:
            self.refuse(problem)

    def complete(self) -> None:
        """The client has said everything."""
        self.waits_since = 0.0
        exchange = self._exchange
        if exchange.answered:
            return
        if self._message is None:
            self.refuse(Problem(400, "invalid", "the call ended before its message was whole"))
            return
        exchange.received_at = monotonic()
        exchange.headers = self._head.headers()
        (compressed, message), self._message = self._message, None
        if not compressed:
            self._begin(message)
        elif len(message) <= QUICK_BYTES:
            self._inflate(message)
        else:
            # zlib lets go of the interpreter, so other calls go on meanwhile.
            work = partial(inflated, message, self._head.window, self._limit)
            inflating = asyncio.get_running_loop().run_in_executor(None, work)
            inflating.add_done_callback(self._inflated)

    def late(self) -> None:
        """The rest of the message did not come in time."""
        self.refuse(Problem(408, "timed_out", "the request did not arrive in time"))

    def drained(self) -> None:
        """The body is read without regard to the answer."""

    def leaving(self) -> None:
        """A call with one message has an end of its own."""

    def gone(self) -> None:
        """The client wants no answer any more."""
        self._exchange.gone()

    def refuse(self, problem: Problem | Rejected) -> None:
        """Answer a call that never began."""
        self.waits_since = 0.0
        self._exchange.received_at = monotonic()
        self._application.run(self._exchange, partial(_raise, problem))

    # What the exchange calls.

    def send(self, exchange: Exchange, response: Response) -> None:
        """Write the answer."""
        del exchange
        write_answer(self._stream, response)

    # How it works.

    def _begin(self, message: Raw) -> None:
        body: Any = message
        self._exchange.body = body
        self._application.run(self._exchange, self._endpoint)

    def _inflate(self, message: Raw) -> None:
        try:
            body = inflated(message, self._head.window, self._limit)
        except Problem as problem:
            self.refuse(problem)
        else:
            self._begin(body)

    def _inflated(self, inflating: asyncio.Future[bytes]) -> None:
        if self._exchange.answered:
            return
        try:
            body = inflating.result()
        except Problem as problem:
            self.refuse(problem)
        else:
            self._begin(body)


def write_answer(stream: Stream, response: Response) -> None:
    """Answer a call with a message, or tell why there is none."""
    block = HEAD + fields_of(response.headers)
    if response.problem is not None:
        stream.answer_head(block + trailers(response.problem))
    else:
        size = sum(map(len, response.parts))
        stream.answer(block, (prefix(size), *response.parts), OK)


def _raise(problem: Problem | Rejected, exchange: Exchange) -> None:
    del exchange
    raise problem
