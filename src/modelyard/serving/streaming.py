"""An answer on its way out in parts, as server-sent events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modelyard.oip.errors import Rejected
from modelyard.oip.model import Events
from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.jobs import Prediction

MOST_UNSENT_BYTES = 4 << 20
"""A client that is further behind than this is told so, and its prediction is given up."""
CONTENT_TYPE = b"text/event-stream; charset=utf-8"

Document = Callable[[Problem], Mapping[str, Any]]
"""An error in the shape that the client knows."""


class EventStream:
    """Sends parts as they come; the status is decided with the first one, later errors are events."""

    def __init__(self, exchange: Exchange, events: Events, headers: bytes, document: Document) -> None:
        self._exchange = exchange
        self._events = events
        self._headers = headers
        self._document = document

    @property
    def has_begun(self) -> bool:
        """Whether a part has gone out, so that errors can only be events."""
        return self._exchange.streaming

    def part(self, prediction: Prediction) -> None:
        """Send a part; raises Rejected when it has no form, and Problem when the client does not read."""
        if self._exchange.answered and not self._exchange.streaming:
            return  # the client has gone
        content = self._events.part(prediction.outputs)
        self.begin()
        if self._exchange.send_part(content) > MOST_UNSENT_BYTES:
            raise Problem(408, "timed_out", "the events are read too slowly: the rest is left out")

    def begin(self) -> None:
        """Decide the status, unless that is done already."""
        if not self._exchange.answered:
            headers = b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n" + self._headers
            self._exchange.start(Response(200, content_type=CONTENT_TYPE, headers=headers))

    def last(self) -> None:
        """Everything is sent."""
        self._exchange.send_part(self._events.last())
        self._exchange.end()

    def fail(self, error: Problem | Rejected) -> None:
        """Tell of an error after parts have gone out, and end."""
        if isinstance(error, Rejected):
            error = Problem(400, "invalid", str(error), path=error.path)
        self._exchange.send_part(self._events.error(self._document(error)))
        self._exchange.end()
