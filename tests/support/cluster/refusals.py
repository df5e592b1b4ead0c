"""What the API server answers when it does not do what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.cluster.schemas import Resource

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
}


class Refusal(Exception):
    """A `Status` of failure."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        causes: Sequence[dict[str, str]] = (),
        retry_after: int = 0,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or _REASONS[code]
        self.causes = list(causes)
        self.retry_after = retry_after
        self.details = details or {}

    @property
    def status(self) -> dict[str, Any]:
        """The document."""
        details = dict(self.details)
        if self.causes:
            details["causes"] = self.causes
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }


def not_found(resource: Resource, name: str) -> Refusal:
    """There is no such object."""
    return Refusal(404, f'{qualified(resource)} "{name}" not found', details=_details(resource, name))


def exists(resource: Resource, name: str) -> Refusal:
    """There is one of that name already."""
    said = f'{qualified(resource)} "{name}" already exists'
    return Refusal(409, said, reason="AlreadyExists", details=_details(resource, name))


def changed(resource: Resource, name: str) -> Refusal:
    """Somebody else was quicker."""
    said = (
        f'Operation cannot be fulfilled on {qualified(resource)} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return Refusal(409, said, details=_details(resource, name))


def invalid(resource: Resource, name: str, problems: Sequence[str]) -> Refusal:
    """The object makes no sense."""
    group = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    said = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    causes = [
        {"reason": "FieldValueInvalid", "field": p.partition(": ")[0], "message": p.partition(": ")[2]}
        for p in problems
    ]
    return Refusal(
        422, f'{group} "{name}" is invalid: {said}', causes=causes, details=_details(resource, name)
    )


def forbidden(resource: Resource, name: str, why: str) -> Refusal:
    """An admission plugin does not want it."""
    said = f'{qualified(resource)} "{name}" is forbidden: {why}'
    return Refusal(403, said, details=_details(resource, name))


def qualified(resource: Resource) -> str:
    """`deployments.apps`."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _details(resource: Resource, name: str) -> dict[str, Any]:
    return {"name": name, "group": resource.group, "kind": resource.plural}
