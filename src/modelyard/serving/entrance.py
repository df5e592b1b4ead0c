"""One port for HTTP/1.1, HTTP/2 and gRPC: the first bytes of a connection say which it is."""

from __future__ import annotations

import asyncio
from typing import cast

from modelyard.serving.grpc.calls import Calls, is_call
from modelyard.serving.http.connection import Connection
from modelyard.serving.http.server import Server
from modelyard.serving.http2.connection import Http2Connection
from modelyard.serving.http2.frames import PREFACE
from modelyard.serving.http2.headers import Head
from modelyard.serving.http2.requests import Request
from modelyard.serving.http2.stream import Receiver, Stream


class Entrance(asyncio.Protocol):
    """Waits for a connection's first bytes, and hands it on."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, *, calls: Calls) -> None:
        self._server = server
        self._loop = loop
        self._calls = calls
        self._transport: asyncio.Transport | None = None
        self._begun = b""
        # Whoever says nothing is cut off like an HTTP/1.1 client, and whoever is too many is told so.
        self._http1 = Connection(server, loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, and not their class.
        self._transport = cast("asyncio.Transport", transport)
        self._http1.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        data = self._begun + data
        if data.startswith(PREFACE):
            http2 = Http2Connection(self._server, self._loop, self._receive, self._calls.plan)
            self._server.closed(self._http1)
            http2.connection_made(self._known)
            self._hand_on(http2, data)
        elif PREFACE.startswith(data):
            self._begun = data
        else:
            self._hand_on(self._http1, data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._http1.connection_lost(error)

    def pause_writing(self) -> None:
        self._http1.pause_writing()

    def resume_writing(self) -> None:
        self._http1.resume_writing()

    @property
    def _known(self) -> asyncio.Transport:
        assert self._transport is not None  # noqa: S101 - nothing is received before the connection is made
        return self._transport

    def _hand_on(self, protocol: asyncio.Protocol, data: bytes) -> None:
        self._known.set_protocol(protocol)
        protocol.data_received(data)

    def _receive(self, head: Head, stream: Stream) -> Receiver | None:
        if is_call(head):
            return self._calls.open(head, stream)
        request = Request(self._server, self._loop, head, stream)
        request.begin()
        return request
