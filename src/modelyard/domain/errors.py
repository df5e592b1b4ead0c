"""Every error that Modelyard raises on purpose.

ModelyardError
├── Invalid            the request can never succeed as written
├── NotFound
├── Conflict           the resource changed, exists already, or is in use
├── Unauthenticated    nobody, or somebody who could not prove it
├── Forbidden          somebody, who may not do this
├── TooLarge           more bytes than this place accepts
├── Unavailable        try again; `retry_after_seconds` says when
├── TimedOut           waiting ended before the thing happened
├── Refused            a model that did not pass validation or the safety scan
└── BackendError       a backend refused; `retryable` says whether trying again can help, `reason` why
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with a request, and where."""

    path: str
    """Where in the request, such as `spec.replicas` or `inputs[0].data[3]`."""
    message: str
    """What is wrong there and how to mend it."""


class ModelyardError(Exception):
    """The root of the tree; `code` is stable and part of the API."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, message: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = tuple(errors)


class Invalid(ModelyardError):
    """The request can never succeed as written."""

    code = "invalid"
    title = "Invalid request"


class NotFound(ModelyardError):
    """There is no such thing, or the caller may not know that there is."""

    code = "not_found"
    title = "Not found"


class Conflict(ModelyardError):
    """The resource changed since it was read, exists already, or is in use."""

    code = "conflict"
    title = "Conflict"

    def __init__(
        self, message: str, *, errors: Sequence[FieldError] = (), generation: int | None = None
    ) -> None:
        super().__init__(message, errors=errors)
        self.generation = generation


class Unauthenticated(ModelyardError):
    """The caller did not prove who they are."""

    code = "unauthenticated"
    title = "Not authenticated"


class Forbidden(ModelyardError):
    """The caller may not do this."""

    code = "forbidden"
    title = "Not permitted"


class TooLarge(ModelyardError):
    """The request carries more than this place accepts."""

    code = "too_large"
    title = "Too large"


class Unavailable(ModelyardError):
    """It cannot be done now; trying again later can help."""

    code = "unavailable"
    title = "Unavailable"

    def __init__(
        self, message: str, *, errors: Sequence[FieldError] = (), retry_after_seconds: float = 1.0
    ) -> None:
        super().__init__(message, errors=errors)
        self.retry_after_seconds = retry_after_seconds


class TimedOut(ModelyardError):
    """Waiting ended before the thing happened."""

    code = "timed_out"
    title = "Timed out"


class Refused(ModelyardError):
    """A model did not pass validation, the safety scan or a gate."""

    code = "refused"
    title = "Refused"


class BackendError(ModelyardError):
    """A backend refused an action."""

    code = "backend"
    title = "Backend error"

    def __init__(
        self,
        message: str,
        *,
        errors: Sequence[FieldError] = (),
        retryable: bool = True,
        reason: str = "StartFailed",
    ) -> None:
        super().__init__(message, errors=errors)
        self.retryable = retryable
        self.reason = reason


ALL: tuple[type[ModelyardError], ...] = (
    ModelyardError,
    Invalid,
    NotFound,
    Conflict,
    Unauthenticated,
    Forbidden,
    TooLarge,
    Unavailable,
    TimedOut,
    Refused,
    BackendError,
)
BY_CODE: dict[str, type[ModelyardError]] = {error.code: error for error in ALL}
