"""What the activator answers: over HTTP a 503 in the shape of the protocol, over gRPC a status."""

from __future__ import annotations

import json

from modelyard.gateway.activator.holding import AWAKE, Outcome

_UNAVAILABLE = 14
_RETRY_SECONDS = {Outcome.STREAMING: 0}


def answer(outcome: Outcome, *, grpc: bool, close: bool) -> bytes:
    """The whole response. One that says `awake` never reaches the client: the request is sent anew."""
    status, headers, body = _of(outcome, grpc)
    if outcome is Outcome.AWAKE:
        headers.append(("x-modelyard-retry", AWAKE))
    headers.append(("retry-after", str(_RETRY_SECONDS.get(outcome, 1))))
    headers.append(("content-length", str(len(body))))
    if close:
        headers.append(("connection", "close"))
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _of(outcome: Outcome, grpc: bool) -> tuple[str, list[tuple[str, str]], bytes]:
    if grpc:
        call = [
            ("content-type", "application/grpc"),
            ("grpc-status", str(_UNAVAILABLE)),
            ("grpc-message", outcome.value),
        ]
        return "200 OK", call, b""
    body = json.dumps({"error": outcome.value, "code": "unavailable"}).encode()
    return "503 Service Unavailable", [("content-type", "application/json")], body
