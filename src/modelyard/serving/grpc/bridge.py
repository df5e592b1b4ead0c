"""Methods that predict nothing: answered by what HTTP clients get at the same place, as protobuf."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from modelyard.oip.errors import Rejected
from modelyard.serving.application import Application
from modelyard.serving.catalog import ALIAS
from modelyard.serving.http.messages import Exchange, Response, WholeAnswers
from modelyard.serving.routing import Endpoint


class Asked(NamedTuple):
    """A request over HTTP."""

    method: str
    path: str
    document: Any = None


class Bridge(NamedTuple):
    """How a method is answered over HTTP."""

    request: Any
    """The class of its message."""
    response: Any
    ask: Callable[[Any], Asked]
    shape: Callable[[Any, Any], Any]
    """From the message and the JSON of the answer to the JSON of the response."""


def path_of(*segments: str) -> str:
    """A path in which names may have any character."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def model_path(message: Any, *more: str) -> str:
    """The path of the model, and perhaps the version, that a message names; raises Rejected for none."""
    if not message.name:
        raise Rejected("name", 'expected a model\'s name, got ""')
    version = ("versions", message.version) if message.version else ()
    return path_of("v2", "models", message.name, *version, *more)


def bridged(application: Application, bridge: Bridge) -> Endpoint:
    """The endpoint of a method."""

    def endpoint(exchange: Exchange) -> None:
        try:
            message = bridge.request.FromString(bytes(exchange.body))
        except DecodeError:
            name = bridge.request.DESCRIPTOR.full_name
            raise Rejected("", f"the message is not an {name}") from None
        asked = bridge.ask(message)
        inner = Exchange(_Relay(exchange, partial(_answer, bridge, message)))
        inner.method, inner.target = asked.method, asked.path.encode()
        inner.headers = {b"x-request-id": exchange.identity.encode("latin-1")}
        if ALIAS in exchange.headers:
            inner.headers[ALIAS] = exchange.headers[ALIAS]
        inner.received_at = exchange.received_at
        inner.body = b"" if asked.document is None else orjson.dumps(asked.document)
        application(inner)

    return endpoint


def _answer(bridge: Bridge, message: Any, body: bytes) -> bytes:
    document = bridge.shape(message, orjson.loads(body) if body else {})
    response = json_format.ParseDict(document, bridge.response(), ignore_unknown_fields=True)
    encoded: bytes = response.SerializeToString()
    return encoded


class _Relay(WholeAnswers):
    """Takes the answer over HTTP and gives it to the call."""

    def __init__(self, outer: Exchange, convert: Callable[[bytes], bytes]) -> None:
        self._outer = outer
        self._convert = convert

    def send(self, exchange: Exchange, response: Response) -> None:
        """The whole answer, or why there is none."""
        del exchange
        if response.problem is None:
            response.parts = (self._convert(b"".join(response.parts)),)
        self._outer.answer(response)
