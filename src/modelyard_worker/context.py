"""What a model's own code may ask about the request that it works on: is it still wanted, how long is left.

from modelyard_worker import context

def predict(inputs):
    for step in range(1000):
        context.check()          # raises Cancelled when nobody waits any more
        ...
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any, Callable, Mapping, Optional


class Cancelled(Exception):
    """Nobody waits for the answer any more: the client has gone, or its deadline has passed."""


class Request:
    """The request that is worked on now."""

    def __init__(
        self,
        parameters: Optional[Mapping[str, Any]] = None,
        deadline: Optional[float] = None,
        is_abandoned: Callable[[], bool] = lambda: False,
    ) -> None:
        self.parameters: Mapping[str, Any] = parameters or {}
        """What the client sent as `parameters`; requests that share a call have the same."""
        self.deadline = deadline
        """When the answer is due, on the clock of `time.monotonic()`; None for never."""
        self.preprocess_seconds = 0.0
        """What the model's step `preprocess` took."""
        self._is_abandoned = is_abandoned

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._is_abandoned() or self.remaining <= 0

    @property
    def remaining(self) -> float:
        """Seconds that are left; infinite without a deadline."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()


_now = Request()
_own: ContextVar[Request] = ContextVar("request")
"""That of the task that asks, where several are worked on side by side."""


def current() -> Request:
    """The request that is worked on now; outside of one, a request that never ends."""
    return _own.get(_now)


def check() -> None:
    """Raise Cancelled when nobody waits for the answer any more."""
    if current().cancelled:
        raise Cancelled("nobody waits for the answer any more")


def enter(request: Request) -> None:
    """Begin to work on a request, alone."""
    global _now
    _now = request


def enter_task(request: Request) -> None:
    """Begin to work on a request in the task that calls this; others may be worked on meanwhile."""
    _own.set(request)
