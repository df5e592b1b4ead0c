"""What can go wrong in the inference server.

ServingError
├── ConfigInvalid    replica.json does not say what it must
└── Problem          an answer that is not a prediction; knows its status
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class ServingError(Exception):
    """The root of the tree."""


class ConfigInvalid(ServingError):
    """replica.json does not say what it must; the message names the field."""


class Failure(NamedTuple):
    """Why a worker or the front failed; `reason` is one of the platform's stable CamelCase reasons."""

    reason: str
    message: str


class Problem(ServingError):
    """An answer that is not a prediction.

    `code` is stable; `reason` is a failure's CamelCase reason, if any; `path` is a place in the request;
    `safe` promises that nothing was begun, so that the request may be sent again elsewhere.
    """

    def __init__(
        self, status: int, code: str, message: str, *, reason: str = "", path: str = "", safe: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.reason = reason
        self.path = path
        self.safe = safe
        self.headers: Mapping[str, str] = {}


def not_found(message: str) -> Problem:
    """There is nothing at that path."""
    return Problem(404, "not_found", message)


def unavailable(message: str, *, reason: str = "", safe: bool, retry_after: int = 1) -> Problem:
    """Trying again can help, after so many seconds."""
    problem = Problem(503, "unavailable", message, reason=reason, safe=safe)
    problem.headers = {"Retry-After": str(retry_after), **({"x-modelyard-retry": "safe"} if safe else {})}
    return problem


def expired(seconds: float) -> Problem:
    """The deadline passed before the answer was there."""
    return Problem(504, "timed_out", f"no answer within {seconds:g} s, the request's deadline")


def too_large(limit: int, *, what: str = "the body") -> Problem:
    """More bytes than this replica accepts."""
    return Problem(413, "too_large", f"{what} is larger than {limit} bytes, the most this service accepts")
