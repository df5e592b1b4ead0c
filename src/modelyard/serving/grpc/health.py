"""grpc.health.v1: whether the server, or one model, can answer now; asked once or watched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from google.protobuf.message import DecodeError

from modelyard.oip.grpc.health_pb2 import HealthCheckRequest, HealthCheckResponse
from modelyard.oip.tensor import Raw
from modelyard.serving.application import Application
from modelyard.serving.errors import Problem, not_found
from modelyard.serving.grpc.calls import Method, Streaming, Unary
from modelyard.serving.grpc.conversation import Conversation
from modelyard.serving.grpc.service import SERVICE as INFERENCE
from modelyard.serving.http.messages import Exchange, Response

SERVICE = "grpc.health.v1.Health"
WATCH_SECONDS = 0.2
"""How often a watched state is looked at."""
_SERVING, _NOT_SERVING, _UNKNOWN = "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"


def methods(application: Application) -> Mapping[str, Method]:
    """Every method by its path."""
    return {
        f"/{SERVICE}/Check": Unary(partial(_check, application)),
        f"/{SERVICE}/Watch": Streaming(partial(Watch, application)),
    }


def _check(application: Application, exchange: Exchange) -> None:
    service = _asked(exchange.body)
    status = _status(application, service)
    if status == _UNKNOWN:
        raise not_found(f'unknown service "{service[:80]}"; ask for "", "{INFERENCE}" or a model')
    body = HealthCheckResponse(status=status).SerializeToString()
    application.reply(exchange, Response(200, (body,)))


def _asked(message: Raw) -> str:
    try:
        return HealthCheckRequest.FromString(bytes(message)).service
    except DecodeError:
        raise Problem(400, "invalid", "the message is not a grpc.health.v1.HealthCheckRequest") from None


def _status(application: Application, service: str) -> str:
    """A name is the server's or a model's."""
    if service in ("", INFERENCE, SERVICE):
        return _SERVING if application.status.is_ready else _NOT_SERVING
    versions = application.catalog.versions(service)
    if not versions:
        return _UNKNOWN
    return _SERVING if versions[0].is_ready else _NOT_SERVING


class Watch:
    """One call that is told of every change."""

    def __init__(self, application: Application, conversation: Conversation) -> None:
        self._application = application
        self._conversation = conversation
        self._service: str | None = None
        self._said = ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        """There is one message, and it is short."""
        return False

    def message(self, message: Raw) -> None:
        """The service to watch."""
        if self._service is not None:
            raise Problem(400, "invalid", "this method takes one message, and there are more")
        self._service = _asked(message)
        self._look()

    def complete(self) -> None:
        """The client goes on listening, unless it asked for nothing."""
        if self._service is None:
            raise Problem(400, "invalid", "the call ended before its message was whole")

    def leaving(self) -> None:
        """Tell, and end."""
        self._say(_NOT_SERVING)
        self._conversation.leave()

    def gone(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._service is None or self._conversation.ended:
            return
        self._say(_status(self._application, self._service))
        self._timer = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)

    def _say(self, status: str) -> None:
        if status != self._said:
            self._said = status
            self._conversation.say((HealthCheckResponse(status=status).SerializeToString(),))
