"""Every error to an answer, once: RFC 9457 problem JSON with a stable code."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from modelyard.domain import errors

log = logging.getLogger(__name__)

STATUS: dict[type[errors.ModelyardError], int] = {
    errors.ModelyardError: 500,
    errors.Invalid: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.TooLarge: 413,
    errors.Unavailable: 503,
    errors.TimedOut: 504,
    errors.Refused: 422,
    errors.BackendError: 502,
}
_TITLES = {400: "Invalid request", 404: "Not found", 405: "Method not allowed", 413: "Too large"}
_CODES = {400: "invalid", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def add_to(app: FastAPI) -> None:
    """Answer every error of this application as a problem."""
    app.add_exception_handler(errors.ModelyardError, _raised)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    wrong: Sequence[errors.FieldError] = (),
    headers: dict[str, str] | None = None,
    **more: object,
) -> Response:
    """The answer for one error."""
    body = {
        "type": f"urn:modelyard:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": _sendable(detail),
        "errors": [{"path": _sendable(each.path), "message": _sendable(each.message)} for each in wrong],
        **{name: _sendable(value) if isinstance(value, str) else value for name, value in more.items()},
    }
    return Response(orjson.dumps(body), status, headers, media_type="application/problem+json")


def _sendable(text: str) -> str:
    """The text as UTF-8 can carry it: names of files need not be any."""
    return text.encode(errors="replace").decode()


def from_error(error: errors.ModelyardError, *, protocol: bool = False) -> Response:
    """The answer for an error of the domain; `protocol` is for clients of the inference protocol."""
    headers: dict[str, str] = {}
    # They look for the member `error`, whatever stands beside it.
    more: dict[str, object] = {"error": error.message} if protocol else {}
    if isinstance(error, errors.Unavailable):
        headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.Conflict) and error.generation is not None:
        more["generation"] = error.generation
    status = STATUS[next(kind for kind in type(error).__mro__ if kind in STATUS)]
    return problem(
        status, error.code, error.title, error.message, wrong=error.errors, headers=headers or None, **more
    )


async def _raised(request: Request, error: Exception) -> Response:
    if not isinstance(error, errors.ModelyardError):
        raise error
    return from_error(error, protocol=request.url.path.startswith("/v2/"))


async def _unreadable(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = [errors.FieldError(_path(line["loc"]), _message(line)) for line in error.errors()]
    malformed = any(line["type"] == "json_invalid" for line in error.errors())
    detail = "; ".join(f"{each.path}: {each.message}" for each in wrong[:5])
    return problem(400 if malformed else 422, "invalid", "Invalid request", detail, wrong=wrong)


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, "invalid")
    title = _TITLES.get(error.status_code, "Refused")
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, code, title, str(error.detail), headers=headers)


async def _gone(_request: Request, _error: Exception) -> Response:
    """The client left in the middle of its request; nobody reads this but the log."""
    return problem(400, "invalid", "Invalid request", "the request ended in the middle; send it again")


async def _unexpected(request: Request, error: Exception) -> Response:
    request_id = getattr(request.state, "request_id", "")
    log.error("unexpected error", extra={"request_id": request_id}, exc_info=error)
    detail = f"an error that should not happen; the log has it under request id {request_id}"
    return problem(500, "internal", "Internal error", detail)


def _path(location: Sequence[object]) -> str:
    parts = [part for part in location if part not in ("body", "query", "path", "header")]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.lstrip(".") or "body"


def _message(line: dict[str, object]) -> str:
    if line["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return "no such field; look for a typing mistake"
    return str(line["msg"])
