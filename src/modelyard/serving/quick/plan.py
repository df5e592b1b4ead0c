"""Plan: what follows from the head of a request over HTTP/1.1, so that only its body is left to be read."""

from __future__ import annotations

from modelyard.oip.json_answers import JsonAnswer
from modelyard.oip.tensor import Tensor
from modelyard.serving.comparing import HEADER as COMPARED
from modelyard.serving.http.coding import wanted_coding
from modelyard.serving.http.messages import Exchange
from modelyard.serving.quick.lane import Lanes, Way
from modelyard.serving.quick.ride import Seat
from modelyard.serving.remembering import Remembering


class Plan:
    """How requests with one head are answered the quick way."""

    def __init__(self, way: Way, read: Remembering, first: Exchange) -> None:
        self._way = way
        self._hosted = way.inference.hosted
        self._read = read
        self._lanes = Lanes(first, JsonAnswer)

    def begin(self, seat: Seat, body: bytes, now: float) -> bool:
        """Take a request that was received now; False leaves it to the long way."""
        found = self._read.templates(self._hosted.model).match(body)
        if found is None:
            return False
        template, data = found
        lane = self._lanes.get(template) or self._lanes.find(template, template.query(b""), self._way)
        if lane is None:
            return False
        name, datatype, shape, _ = template.given
        lane.carry(seat, (Tensor(name, datatype, shape, data),), now)
        return True


def is_plain(first: Exchange) -> bool:
    """Whether nothing in a head asks for more than an answer in JSON to a body in JSON."""
    headers = first.headers
    return (
        first.method == "POST"
        and b"content-encoding" not in headers
        and b"inference-header-content-length" not in headers
        and COMPARED not in headers
        and not wanted_coding(headers.get(b"accept-encoding"))
    )
