"""From an answer of the API back to the error that the server raised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelyard.domain import errors


class Unreachable(errors.Unavailable):
    """The server did not answer at all."""


_BY_STATUS: dict[int, type[errors.ModelyardError]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.Invalid,
    429: errors.Unavailable,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.TimedOut,
}


def error_from(status: int, body: bytes, headers: Mapping[str, str]) -> errors.ModelyardError:
    """The same class of error that the server raised, with its message and fields."""
    problem = _problem(body)
    known = errors.BY_CODE.get(str(problem.get("code", "")))
    kind = known or _BY_STATUS.get(status, errors.ModelyardError)
    fields = [
        errors.FieldError(str(each.get("path", "")), str(each.get("message", "")))
        for each in problem.get("errors") or []
        if isinstance(each, dict)
    ]
    message = str(problem.get("detail") or problem.get("error") or problem.get("title") or f"HTTP {status}")
    if issubclass(kind, errors.Unavailable):
        return kind(message, errors=fields, retry_after_seconds=_seconds(headers.get("retry-after", "1")))
    if issubclass(kind, errors.Conflict):
        generation = problem.get("generation")
        return kind(message, errors=fields, generation=generation if isinstance(generation, int) else None)
    return kind(message, errors=fields)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {"detail": body[:200].decode(errors="replace")}
    return document if isinstance(document, dict) else {}


def _seconds(text: str) -> float:
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 1.0
