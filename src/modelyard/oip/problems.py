"""Errors in the shape that each family of clients knows, told apart by the path that was asked.

| clients                                             | shape                                               |
|-----------------------------------------------------|-----------------------------------------------------|
| OpenAI: `/openai/…`, `/v1/embeddings`, `/v1/chat/…` | `{"error": {"message", "type", "param", "code"}}`   |
| MLflow: `/invocations`                              | `{"error_code", "message"}`                         |
| all others                                          | `{"error"}`                                         |

Our own `code`, `request_id`, `reason` and `path` stand beside them, never instead.
"""

from __future__ import annotations

from typing import Any

_OPENAI = (b"/openai/", b"/v1/embeddings", b"/v1/chat/", b"/v1/completions")
_MLFLOW = (b"/invocations",)
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_MLFLOW_CODES = {
    400: "BAD_REQUEST",
    404: "ENDPOINT_NOT_FOUND",
    405: "BAD_REQUEST",
    413: "BAD_REQUEST",
    415: "BAD_REQUEST",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
}


def error_document(
    target: bytes, status: int, *, message: str, code: str, reason: str, path: str
) -> dict[str, Any]:
    """The body of an error for whoever asked for a path; without the request's identity."""
    extras = {key: value for key, value in (("reason", reason), ("path", path)) if value}
    if target.startswith(_OPENAI):
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return {"error": {"message": message, "type": kind, "param": path or None, "code": code}, **extras}
    if target.startswith(_MLFLOW):
        name = _MLFLOW_CODES.get(status, "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST")
        return {"error_code": name, "message": message, "code": code, **extras}
    return {"error": message, "code": code, **extras}
