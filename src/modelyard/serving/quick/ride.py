"""Ride: a request on the quick way, which is its exchange, its call and its job in one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, Protocol

from modelyard.oip.tensor import Tensor, total_bytes
from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.jobs import Job, Prediction, Together


class Fare(NamedTuple):
    """What all rides of a lane are as jobs, as the long way would have found it for each."""

    parameters: Mapping[str, Any]
    timeout_seconds: float
    priority: int
    kind: Hashable
    rows: int
    together: Together


class Seat(Protocol):
    """Where a ride's answer goes: its connection, or its stream."""

    def take(self, asked: Ride | Exchange) -> None:
        """This is what is answered next here, perhaps in place of what was."""

    def put(self, ride: Ride, head: bytes, body: bytes) -> None:
        """Write the answer: all of its head but what the seat itself has to say, and the body."""

    # What an exchange in the ride's place needs of it.

    def send(self, exchange: Exchange, response: Response) -> None:
        """Write an answer that came the long way."""

    def start(self, exchange: Exchange, response: Response) -> None:
        """Begin an answer in parts, which no ride has."""

    def send_part(self, exchange: Exchange, part: bytes | bytearray | memoryview) -> int:
        """See `start`."""

    def end(self, exchange: Exchange) -> None:
        """See `start`."""


class Lane(Protocol):
    """What rides of one kind have in common."""

    fare: Fare
    render: Any
    """Writes the answers."""
    identity: bytes
    """The client's own for all of them; empty without one."""

    def settle(self, ride: Ride, outcome: Prediction | Problem) -> None:
        """Answer a ride by itself, the long way."""

    def cancel(self, ride: Ride) -> None:
        """Nobody waits for the answer any more."""


class Ride(Job):
    """One request."""

    def __init__(
        self, lane: Lane, seat: Seat, inputs: tuple[Tensor, ...], received_at: float, submitted_at: float
    ) -> None:
        # Not the dataclass's own way: what a ride has in common with every job stays with the class.
        self.lane = lane
        self.seat = seat
        self.inputs = inputs
        self.received_at = received_at
        self.submitted_at = submitted_at
        self.parameters, timeout, self.priority, self.kind, self.rows, self.together = lane.fare
        self.timeout_seconds = timeout
        self.deadline = received_at + timeout
        self.size = len(inputs[0].data) if len(inputs) == 1 else total_bytes(inputs)

    def settle(self, outcome: Prediction | Problem) -> None:
        """Answer it by itself; what comes after the first time is dropped."""
        if not self.settled:
            self.settled = True
            self.lane.settle(self, outcome)

    def forget(self) -> None:
        """Drop what comes."""
        self.settled = True

    def gone(self) -> None:
        """The client went away before the answer."""
        if not self.settled:
            self.lane.cancel(self)
