"""Problems as the client that asked can read them."""

from __future__ import annotations

from typing import Any

from modelyard.oip.problems import error_document
from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange, Response, json_response


def document_of(exchange: Exchange, problem: Problem) -> dict[str, Any]:
    """The body of an error, in the shape of the path that was asked."""
    document = error_document(
        exchange.target,
        problem.status,
        message=problem.message,
        code=problem.code,
        reason=problem.reason,
        path=problem.path,
    )
    document["request_id"] = exchange.identity
    return document


def problem_response(problem: Problem, exchange: Exchange) -> Response:
    """The answer that tells of a problem."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in problem.headers.items())
    response = json_response(document_of(exchange, problem), problem.status)
    response.headers = headers.encode()
    response.problem = problem
    return response


def identified(headers: bytes, exchange: Exchange) -> bytes:
    """Header lines, and the one that tells the request's identity."""
    return b"%bX-Request-Id: %b\r\n" % (headers, exchange.identity.encode("latin-1"))
