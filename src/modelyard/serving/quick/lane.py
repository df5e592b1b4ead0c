"""Lane: the rides that ask the same of one model in the same words, but for their numbers."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from modelyard.oip.errors import Rejected
from modelyard.oip.model import Query
from modelyard.oip.tensor import Tensor
from modelyard.serving.batching.merging import kind_of, rows_of
from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange
from modelyard.serving.inference import Call, Dialect, Inference
from modelyard.serving.jobs import Prediction
from modelyard.serving.quick.answers import Answers
from modelyard.serving.quick.identities import sound
from modelyard.serving.quick.ride import Fare, Ride, Seat

MOST_LANES = 32
"""Of one head: as many as there are templates of requests to one path."""


class Way(NamedTuple):
    """Where requests go that ask one model in one protocol."""

    inference: Inference
    dialect: Dialect
    answers: Answers
    fault: Callable[[Exchange, Exception], None]
    """Answers a request that met a fault of ours."""


class Lane:
    """What the rides have in common, found once by the long way."""

    def __init__(self, way: Way, first: Exchange, query: Query) -> None:
        """`first` has the head of all requests, `query` what they mean; raises Rejected as the long way."""
        asked = way.inference.asked(first, query)
        kind, rows = kind_of(query.inputs, asked.parameters), rows_of(query.inputs)
        self.fare = Fare(asked.parameters, asked.timeout_seconds, asked.priority, kind, rows, way.answers)
        self.render: Any = query.render
        self.identity = sound(first.headers.get(b"x-request-id")).encode()
        self._way = way
        self._submit = way.inference.hosted.dispatcher.submit
        self._first = first
        self._query = query

    def carry(self, seat: Seat, inputs: tuple[Tensor, ...], now: float) -> None:
        """Take a request that was received now; whatever goes wrong becomes its answer."""
        ride = Ride(self, seat, inputs, now, monotonic())
        seat.take(ride)
        try:
            self._submit(ride)
        except Problem as problem:
            ride.forget()
            way = self._way
            way.inference.turned_away(problem)
            way.inference.finish(self._exchange(ride), way.dialect.protocol, problem)
        except Exception as error:  # noqa: BLE001 - a fault of ours must cost one request, never the connection
            ride.forget()
            self._way.fault(self._exchange(ride), error)

    def settle(self, ride: Ride, outcome: Prediction | Problem) -> None:
        """Answer a ride by itself, the long way."""
        call = Call(self._exchange(ride), self._way.dialect, self._query, ride)
        self._way.inference.done(call, outcome)

    def cancel(self, ride: Ride) -> None:
        """Nobody waits for the answer any more."""
        self._way.inference.cancel(ride)

    def _exchange(self, ride: Ride) -> Exchange:
        """The exchange that a ride would have been on the long way; it takes the ride's seat."""
        first = self._first
        exchange = Exchange(ride.seat)
        exchange.method, exchange.target, exchange.headers = first.method, first.target, first.headers.copy()
        exchange.received_at = ride.received_at
        exchange.identity = self._way.answers.identities.of(first.headers.get(b"x-request-id"))
        ride.seat.take(exchange)
        return exchange


class Lanes:
    """The lanes of requests with one head, by what their bodies are like."""

    def __init__(self, first: Exchange, render: type[Any]) -> None:
        """`render` is what writes answers that can be written together."""
        self._first = first
        self._render = render
        self._known: dict[Any, Lane | None] = {}
        self.get = self._known.get
        """The lane, if it was looked for before and there is one."""

    def find(self, template: Any, query: Query, way: Way) -> Lane | None:
        """The lane of requests like this one; None when the long way must answer them."""
        if template in self._known:
            return self._known[template]
        lane = None
        if isinstance(query.render, self._render) and query.render.plain and query.events is None:
            try:
                lane = Lane(way, self._first, query)
            except Rejected:
                lane = None  # the long way says why
        if len(self._known) >= MOST_LANES:
            self._known.clear()
        self._known[template] = lane
        return lane
