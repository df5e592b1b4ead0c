"""What the API server refuses, as errors of ours.

NotFound            there is no such object
Conflict            the object changed, or somebody else owns the field; `Exists`: there is one of that name
Invalid             the object makes no sense; never try it again as it is
Forbidden           RBAC; `QuotaExceeded`, `PodSecurityViolated`: admission
TooLarge            more than the server takes
Unavailable         too many requests, failures of the server, time-outs, no connection; try again later
├── Gone            the version to go on from is forgotten; list again
└── Terminating     the namespace goes
BackendError        credentials that are not accepted, and what else a client should never see
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from modelyard.domain.errors import (
    BackendError,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    ModelyardError,
    NotFound,
    TooLarge,
    Unavailable,
)

_UNTYPED = re.compile(
    r"failed to create typed (?:patch|live) object [^)]*\): (?P<field>[\w.\[\]\"=-]*): (?P<why>.+)", re.S
)
"""How an apply is refused whose fields the kind does not have; the server says 500 to it, but means 400."""

_QUOTA = re.compile(r"exceeded quota: (?P<quota>[^,]+), requested: (?P<requested>.+?), used: .+?, limited: ")


class Exists(Conflict):
    """There is an object of that name already; `ours` when a try of ours without an answer came before."""

    def __init__(self, message: str, *, errors: Sequence[FieldError] = (), ours: bool = False) -> None:
        super().__init__(message, errors=errors)
        self.ours = ours


class QuotaExceeded(Forbidden):
    """A ResourceQuota of the namespace has no room for it; `requested` is what there is too little of."""

    def __init__(self, message: str, *, errors: Sequence[FieldError] = (), requested: str = "") -> None:
        super().__init__(message, errors=errors)
        self.requested = requested


class PodSecurityViolated(Forbidden):
    """The namespace's pod security standard does not admit it."""


class Gone(Unavailable):
    """The version to go on from is forgotten; list again."""


class Terminating(Unavailable):
    """The namespace is being deleted; it takes nothing new."""


_SIMPLE: Mapping[int, type[ModelyardError]] = {
    400: Invalid,
    404: NotFound,
    410: Gone,
    413: TooLarge,
    422: Invalid,
}


def status_of(content: bytes) -> Mapping[str, Any]:
    """The `Status` in an answer's body; one with only a message when it is something else."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict):
        return found
    return {"message": content[:1000].decode(errors="replace").strip()}


def seconds_of(headers: Mapping[str, str], status: Mapping[str, Any]) -> float | None:
    """When to come again, as the server wishes; None when it did not say."""
    details = status.get("details") or {}
    for said in (headers.get("retry-after"), details.get("retryAfterSeconds")):
        try:
            if said:
                return float(said)
        except (TypeError, ValueError):
            continue
    return None


def refused(code: int, status: Mapping[str, Any], retry_after: float | None = None) -> ModelyardError:
    """The error that an answer other than success is."""
    message = str(status.get("message") or f"the API server answered {code}")
    errors = tuple(_errors(status))
    if code in _SIMPLE:
        return _SIMPLE[code](message, errors=errors)
    if is_untyped(code, message):
        return Invalid(message, errors=tuple(_untyped(message)))
    if code in (408, 429) or code >= 500:
        return Unavailable(message, retry_after_seconds=retry_after or 1.0)
    match code:
        case 401:
            said = "the cluster does not accept our credentials; look at the kubeconfig's user"
            return BackendError(f"{said} ({message})", reason="ClusterUnauthenticated")
        case 403:
            return _forbidden(message, status, errors)
        case 409:
            exists = status.get("reason") == "AlreadyExists"
            return Exists(message) if exists else Conflict(message, errors=errors)
    return BackendError(message, retryable=False, reason="ClusterRefused")


def is_untyped(code: int, message: str) -> bool:
    """Whether a failure of the server is one of the object's own, which no further try mends."""
    return code == 500 and message.startswith("failed to create typed ")


def _untyped(message: str) -> list[FieldError]:
    found = _UNTYPED.match(message)
    return [FieldError(found["field"].removeprefix("."), found["why"])] if found else []


def _forbidden(message: str, status: Mapping[str, Any], errors: tuple[FieldError, ...]) -> ModelyardError:
    quota = _QUOTA.search(message)
    if quota or "exceeded quota" in message:
        return QuotaExceeded(message, errors=errors, requested=quota["requested"] if quota else "")
    if "violates PodSecurity" in message:
        return PodSecurityViolated(message, errors=errors)
    causes = (status.get("details") or {}).get("causes") or ()
    leaving = any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
    if leaving or "because it is being terminated" in message:
        return Terminating(message, retry_after_seconds=5.0)
    return Forbidden(message, errors=errors)


def _errors(status: Mapping[str, Any]) -> list[FieldError]:
    causes = (status.get("details") or {}).get("causes") or ()
    return [
        FieldError(str(cause.get("field", "")), str(cause.get("message", "")))
        for cause in causes
        if cause.get("field")
    ]
