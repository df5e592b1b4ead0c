"""Predictions over gRPC: one message each way, or a stream of requests and their answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from time import monotonic
from typing import Any

from modelyard.oip.grpc.infer_request import InferRequest, read_request, to_query
from modelyard.oip.grpc.infer_response import (
    streamed_error,
    streamed_events,
    streamed_last,
    streamed_response,
)
from modelyard.oip.grpc.templates import Templates
from modelyard.oip.model import Query, ServedModel
from modelyard.oip.regions import Regions
from modelyard.oip.tensor import Raw
from modelyard.serving.application import Application
from modelyard.serving.grpc.conversation import Conversation
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.inference import Dialect, Parse

PROTOCOL = "grpc"
MOST_PENDING = 64
MOST_PENDING_BYTES = 1 << 20
"""Requests of one stream, and bytes of them, that may wait for their answers before no more are read."""


class UnaryInference:
    """Answers a ModelInferRequest with a ModelInferResponse; requests like earlier ones are read quickly."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.templates: Templates[tuple[HostedModel, ServedModel]] = Templates()

    def __call__(self, exchange: Exchange) -> None:
        """Begin a prediction; raises Problem and Rejected for what never begins."""
        known = self.templates.read(exchange.body)
        if known is not None:
            query, (hosted, model) = known
            # A model may learn its signature when it is loaded; what was checked before is not checked then.
            if hosted.model is model:
                self._application.predict(hosted, exchange, Dialect(PROTOCOL, partial(known_query, query)))
                return
        request = read_request(exchange.body)
        hosted = _asked(self._application, request, exchange)
        parse = partial(self._learned, request, hosted)
        self._application.predict(hosted, exchange, Dialect(PROTOCOL, parse))

    def _learned(
        self, request: InferRequest, hosted: HostedModel, exchange: Exchange, body: bytes, model: ServedModel
    ) -> Query:
        del exchange
        query = to_query(request, model, self._application.regions)
        self.templates.learn(body, request, query, (hosted, model))
        return query


def known_query(query: Query, exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    """The query of a request that was read before."""
    del exchange, body, model
    return query


def infer_streamed(application: Application, turn: Turn, exchange: Exchange) -> None:
    """Answer a ModelInferRequest with one ModelStreamInferResponse or, from some models, with several."""
    request = read_request(exchange.body)
    turn.identity = request.message.id
    parse = partial(_query_in_parts, partial(_query, request, application.regions), turn)
    application.predict(_asked(application, request, exchange), exchange, Dialect(PROTOCOL, parse))


def _asked(application: Application, request: InferRequest, exchange: Exchange) -> HostedModel:
    return application.find(exchange, request.message.model_name, request.message.model_version)


def _query(
    request: InferRequest, regions: Regions, exchange: Exchange, body: bytes, model: ServedModel
) -> Query:
    del exchange, body
    return to_query(request, model, regions)


def _query_in_parts(parse: Parse, turn: Turn, exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    query = parse(exchange, body, model)
    turn.wants_end = query.parameters.get("triton_enable_empty_final_response") is True
    return query._replace(events=streamed_events(query, turn.identity))


class Turn:
    """One request of a stream, and what has been answered to it before it is its turn."""

    def __init__(self, talk: InferenceTalk, size: int) -> None:
        self._talk = talk
        self.size = size
        """Bytes of the request."""
        self._parts = 0
        self.exchange = Exchange(self)
        self.identity = ""
        """The request's id, as its client gave it."""
        self.wants_end = False
        """Whether the client asked to be told the end of several answers, in an answer without outputs."""
        self.said: list[tuple[Raw, ...]] = []
        self.complete = False

    # What the exchange calls.

    def send(self, exchange: Exchange, response: Response) -> None:
        """The whole answer, or why there is none."""
        if response.problem is not None:
            self.said.append((streamed_error(response.problem.message, self.identity),))
        else:
            self.said.append(streamed_response(response.parts))
        self.end(exchange)

    def start(self, exchange: Exchange, response: Response) -> None:
        """The answer comes in parts."""
        for part in response.parts:
            self.send_part(exchange, part)

    def send_part(self, exchange: Exchange, part: Raw) -> int:
        """A part; returns how many bytes of earlier parts the client has not taken yet."""
        del exchange
        behind = 0
        if self._parts:
            behind = self._talk.unsent_bytes + sum(len(piece) for parts in self.said for piece in parts)
        self._parts += 1
        self.said.append((part,))
        # Not at once: if this is all, it says so itself.
        self._talk.advance_soon()
        return behind

    def end(self, exchange: Exchange) -> None:
        """The answer is complete."""
        del exchange
        if self._parts == 1 and self.said:
            self.said = [(*self.said[0], streamed_last(self.identity))]
        elif self._parts and self.wants_end:
            self.said.append((streamed_last(self.identity),))
        self.complete = True
        self._talk.advance()


class InferenceTalk:
    """One stream of requests; each is answered in its turn, and a failed one does not end the stream."""

    def __init__(self, application: Application, conversation: Conversation) -> None:
        self._application = application
        self._conversation = conversation
        self._turns: deque[Turn] = deque()
        self._pending_bytes = 0
        self._completed = False
        self._leaving = False
        self._advancing = False

    @property
    def is_full(self) -> bool:
        """Whether so much is under way that no more is read."""
        many = len(self._turns) >= MOST_PENDING or self._pending_bytes >= MOST_PENDING_BYTES
        return many or self._conversation.is_behind

    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers that the client has not taken yet."""
        return self._conversation.unsent_bytes

    def message(self, message: Raw) -> None:
        """Begin the next request."""
        self._conversation.begin()
        turn = Turn(self, len(message))
        self._turns.append(turn)
        self._pending_bytes += turn.size
        exchange = turn.exchange
        exchange.received_at = monotonic()
        exchange.headers = self._conversation.head.headers()
        body: Any = message
        exchange.body = body
        self._application.run(exchange, partial(infer_streamed, self._application, turn))

    def complete(self) -> None:
        """No more requests come; those under way are answered."""
        self._completed = True
        self.advance()

    def leaving(self) -> None:
        """End when what is under way is answered."""
        self._leaving = True
        self.advance()

    def gone(self) -> None:
        """Nobody waits for answers any more."""
        turns, self._turns = self._turns, deque()
        for turn in turns:
            turn.exchange.gone()

    def advance_soon(self) -> None:
        """Say what is due when this turn of the loop has done what it does."""
        asyncio.get_running_loop().call_soon(self.advance)

    def advance(self) -> None:
        """Say what is due, in the order of requests."""
        if self._advancing:
            return
        self._advancing = True
        was_full = self.is_full
        while self._turns:
            turn = self._turns[0]
            for parts in turn.said:
                self._conversation.say(parts)
            turn.said = []
            if not turn.complete:
                break
            self._turns.popleft()
            self._pending_bytes -= turn.size
        self._advancing = False
        if not self._turns and self._leaving:
            self._conversation.leave()
        elif not self._turns and self._completed:
            self._conversation.finish()
        elif was_full and not self.is_full:
            self._conversation.resume()
