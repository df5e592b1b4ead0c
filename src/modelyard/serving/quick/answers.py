"""Answers the rides of one call together: what is the same for all is written, counted and timed once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from modelyard.oip.errors import Rejected
from modelyard.oip.json_answers import Table
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import JSON, STATUS_LINES
from modelyard.serving.jobs import Prediction, Work
from modelyard.serving.quick.identities import Identities
from modelyard.serving.quick.ride import Lane, Ride
from modelyard.serving.quick.timing import Legs, rows_of_all

_BEGIN = b"%bContent-Type: %b\r\nContent-Length: " % (STATUS_LINES[200], JSON)


class Answers(ABC):
    """Answers of one model in one protocol."""

    def __init__(self, hosted: HostedModel, protocol: str, identities: Identities) -> None:
        self.hosted = hosted
        self.protocol = protocol
        self.identities = identities

    def written(self, work: Work, outcome: Prediction) -> Sequence[bytes] | None:
        """The body for each ride of a call; None where some answer must be written by itself."""
        rides: Any = work.jobs
        places: dict[Lane, list[int]] = {}
        for place, ride in enumerate(rides):
            those = places.get(ride.lane)
            if those is None:
                those = places[ride.lane] = []
            those.append(place)
        found: list[bytes] = [b""] * len(rides)
        try:
            cut = self.cut(outcome, work.rows)
            for lane, those in places.items():
                bodies = self.bodies(lane, cut, those)
                if len(places) == 1:
                    return bodies
                for place, body in zip(those, bodies, strict=True):
                    found[place] = body
        except (ValueError, Rejected):
            return None
        return found

    def answer(self, answers: Sequence[tuple[Ride, bytes]], outcome: Prediction) -> None:
        """Send each ride its body."""
        if not answers:
            return
        legs = Legs(answers[0][0], outcome)
        timed, head, following = legs.timed, self.head, self.identities.next
        for ride, body in answers:
            ride.seat.put(ride, head(len(body), timed(ride), ride.lane.identity or following()), body)
        rows = rows_of_all([ride for ride, _ in answers])
        legs.count(self.hosted, self.protocol, infer_seconds=outcome.infer_seconds, rows=rows)

    @abstractmethod
    def cut(self, outcome: Prediction, rows: Sequence[int]) -> Any:
        """What is done once for a call; raises ValueError where its answers cannot be cut."""

    @abstractmethod
    def bodies(self, lane: Lane, cut: Any, places: Sequence[int]) -> list[bytes]:
        """The bodies for the rides of one lane; raises ValueError and Rejected."""

    @abstractmethod
    def head(self, size: int, timing: bytes, identity: bytes) -> bytes:
        """What stands before a body of so many bytes, but for what a seat adds."""


class JsonAnswers(Answers):
    """Answers in JSON over HTTP/1.1."""

    def __init__(self, hosted: HostedModel, protocol: str, identities: Identities) -> None:
        super().__init__(hosted, protocol, identities)
        self._ours = b"\r\n%bX-Request-Id: " % hosted.headers

    def cut(self, outcome: Prediction, rows: Sequence[int]) -> Table:
        """The elements of each ride as they stand in JSON."""
        return Table(outcome.outputs, rows)

    def bodies(self, lane: Lane, cut: Table, places: Sequence[int]) -> list[bytes]:
        """The bodies for the rides of one lane."""
        bodies: list[bytes] = lane.render.bodies(cut, places)
        return bodies

    def head(self, size: int, timing: bytes, identity: bytes) -> bytes:
        """The lines of the head but the last ones."""
        return b"".join((_BEGIN, b"%d" % size, b"\r\nServer-Timing: ", timing, self._ours, identity, b"\r\n"))
