"""Unary predictions like earlier ones, the quick way: the stream itself is where the answer goes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic

from modelyard.oip.grpc.answers import GrpcAnswer, Rows
from modelyard.oip.tensor import Raw
from modelyard.serving.application import Application
from modelyard.serving.grpc.framing import PREFIX, prefix
from modelyard.serving.grpc.head import CallHead
from modelyard.serving.grpc.inference import PROTOCOL, UnaryInference, known_query
from modelyard.serving.grpc.status import HEAD, OK
from modelyard.serving.grpc.unary import write_answer
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, Nowhere, Response, Waiting, WholeAnswers
from modelyard.serving.http2.headers import fields_of, length_of, name_of
from modelyard.serving.http2.incoming import Incoming
from modelyard.serving.http2.outgoing import Outgoing
from modelyard.serving.http2.stream import Stream
from modelyard.serving.inference import Dialect
from modelyard.serving.jobs import Prediction
from modelyard.serving.quick.answers import Answers
from modelyard.serving.quick.identities import Identities
from modelyard.serving.quick.lane import Lanes
from modelyard.serving.quick.ride import Lane as AnyLane

_START, _IDENTITY = HEAD + name_of(b"server-timing"), name_of(b"x-request-id")


class CallStream(Stream, WholeAnswers):
    """The stream of a call that came whole; it is its own receiver, to which nothing more comes."""

    is_full = False
    waits_since = 0.0
    closed_by_client = True

    def __init__(self, owner: Incoming, out: Outgoing, identity: int, size: int) -> None:
        self.owner = owner
        self.out = out
        self.identity = identity
        self.received = size
        self.send_window = out.initial_window
        self._asked: Waiting | None = None
        self._incoming = owner

    @property
    def receiver(self) -> CallStream:  # type: ignore[override]
        """Itself, without a ring of references."""
        return self

    # What a ride and its exchange need.

    def take(self, asked: Waiting) -> None:
        """This is what is answered; the first one opens the stream."""
        if self._asked is None:
            self._incoming.admit(self, self.received)
        self._asked = asked

    def put(self, ride: Waiting, head: bytes, body: bytes) -> None:
        """Write the answer."""
        del ride
        if not self.closed_by_us:
            self.out.answer(self, head, (body,), OK)

    def send(self, exchange: Exchange, response: Response) -> None:
        """Write an answer that came the long way."""
        del exchange
        write_answer(self, response)

    # What the connection tells a receiver.

    def data(self, payload: Raw) -> None:
        """Nothing comes behind the end."""

    def complete(self) -> None:
        """It was complete before it began."""

    def late(self) -> None:
        """Nothing is waited for."""

    def drained(self) -> None:
        """The answer is written without regard to the client's pace."""

    def leaving(self) -> None:
        """A call with one message has an end of its own."""

    def gone(self) -> None:
        """The client wants no answer any more."""
        if self._asked is not None:
            self._asked.gone()


class GrpcAnswers(Answers):
    """Answers in messages over gRPC."""

    def __init__(self, hosted: HostedModel, protocol: str, identities: Identities) -> None:
        super().__init__(hosted, protocol, identities)
        self._ours = fields_of(hosted.headers) + _IDENTITY

    def cut(self, outcome: Prediction, rows: Sequence[int]) -> Rows:
        """Where the rows of each call are."""
        return Rows(outcome.outputs, rows)

    def bodies(self, lane: AnyLane, cut: Rows, places: Sequence[int]) -> list[bytes]:
        """The messages for the rides of one lane."""
        bodies: list[bytes] = lane.render.bodies(cut, places, prefix)
        return bodies

    def head(self, size: int, timing: bytes, identity: bytes) -> bytes:
        """The header block."""
        del size
        return b"".join(
            (_START, length_of(len(timing)), timing, self._ours, length_of(len(identity)), identity)
        )


class CallPlan:
    """How calls of ModelInfer with one head are answered the quick way."""

    def __init__(self, application: Application, endpoint: UnaryInference, head: CallHead) -> None:
        first = Exchange(Nowhere())
        first.headers = head.headers()
        self._application = application
        self._templates = endpoint.templates
        self._lanes = Lanes(first, GrpcAnswer)

    def begin(self, incoming: Incoming, out: Outgoing, identity: int, message: bytes) -> bool:
        """Take the call on a new stream of this number; False leaves it to the long way."""
        now = monotonic()
        found = self._templates.match(message)
        if found is None:
            return False
        template, inputs = found
        hosted, model = template.about
        if hosted.model is not model:
            return False
        lane = self._lanes.get(template)
        if lane is None:
            query = template.query._replace(inputs=template.tensors)
            way = self._application.way(hosted, Dialect(PROTOCOL, partial(known_query, query)), GrpcAnswers)
            lane = None if way is None else self._lanes.find(template, query, way)
            if lane is None:
                return False
        lane.carry(CallStream(incoming, out, identity, len(message) + PREFIX.size), inputs, now)
        return True
