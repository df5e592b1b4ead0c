"""Requests that come to a control plane that does not lead: given to the one that does."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable

import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.api.problems import problem

log = logging.getLogger(__name__)

PASSED_ON = b"x-modelyard-passed-on"
"""Marks what another control plane gave us; it is never given away again."""
_OWN = ("/livez", "/healthz", "/readyz")
"""What is asked of this control plane and of no other."""
_FILES = "/api/v1/artifacts/"
"""What every control plane reads from the same store; the leader need not carry it twice."""
_READS = ("GET", "HEAD")
_TIMEOUT = httpx2.Timeout(None, connect=2.0, write=30.0)
"""What follows a log may be silent for as long as it likes."""
_PATIENCE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, n), v) for n, v in _PATIENCE.items() if hasattr(socket, n)),
)
"""So a node that vanishes without a word ends what is silent after half a minute."""
_LOOK_SECONDS = 0.5
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"expect",
})  # fmt: skip

Leader = Callable[[], str]
"""Address of another control plane that leads; empty when it is this one, or nobody is known to."""


class Following:
    """ASGI middleware around the whole application of one of several control planes.

    What a leader has in memory is only there: shells that are open, what replicas said last. Where it cannot
    be reached, the application answers itself from the records, which all control planes share.
    """

    def __init__(
        self, app: ASGIApp, *, leader: Leader, wire: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._app, self._leader = app, leader
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=5.0)
        wire = wire or httpx2.AsyncHTTPTransport(limits=limits, trust_env=False, socket_options=_KEEPALIVE)
        self._client = httpx2.AsyncClient(transport=wire, trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        leader = self._leader() if _may_go(scope) else ""
        if not leader:
            return await self._app(scope, receive, send)
        body = _Body(receive, empty=scope["method"] in _READS)
        passing = asyncio.create_task(self._pass_on(leader, scope, body, send))
        leaving = asyncio.create_task(body.gone())
        changing = asyncio.create_task(self._until_another(leader))
        try:
            await asyncio.wait({passing, leaving, changing}, return_when=asyncio.FIRST_COMPLETED)
            if body.answered:  # who was asked is there, whoever leads now
                await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ends = changing.done() and not leaving.done() and not passing.done()
            for each in (leaving, changing, passing):
                each.cancel()
            await asyncio.gather(leaving, changing, passing, return_exceptions=True)
        if ends and not body.answered:
            log.info("the control plane that led does not any more", extra={"at": leader})
            await (_lost(scope, body.again, send) if body.begun else self._app(scope, body.again, send))
        elif not passing.cancelled() and not passing.result():
            await self._app(scope, body.again, send)

    async def _until_another(self, leader: str) -> None:
        """Return when this one does not lead any more, as two looks have it: its node may be gone."""
        looks = 0
        while looks < 2:
            await asyncio.sleep(_LOOK_SECONDS)
            looks = 0 if self._leader() == leader else looks + 1

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _pass_on(self, leader: str, scope: Scope, body: _Body, send: Send) -> bool:
        """Have the leader answer; False when it certainly did nothing, and nothing was said yet."""
        try:
            answer = await self._client.send(_request(leader, scope, body), stream=True)
        except httpx2.HTTPError as error:
            _note(leader, error)
            if not body.begun:
                return False
            await _lost(scope, body.again, send)
            return True
        body.answered = True
        try:
            await _tell(answer, send)
        except httpx2.HTTPError as error:  # the client's connection breaks off as the leader's did
            _note(leader, error)
        finally:
            await answer.aclose()
        return True


class _Body:
    """What a client sends, whether it is still there, and whether it is being answered."""

    def __init__(self, receive: Receive, *, empty: bool) -> None:
        self._receive = receive
        self.empty, self.begun, self.answered = empty, False, False
        self._read = asyncio.Event()
        if empty:
            self._read.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of it; raises when the client is gone before its end."""
        while not self._read.is_set():
            self.begun = True
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise httpx2.RequestError("the client is gone")
            if not message.get("more_body"):
                self._read.set()
            yield message.get("body", b"")

    async def gone(self) -> None:
        """Return when the client is, which is not looked at before it has said everything."""
        await self._read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def again(self) -> Message:
        """What the application receives that answers instead."""
        if self.empty:
            self.empty = False
            return {"type": "http.request", "body": b"", "more_body": False}
        return await self._receive()


async def _lost(scope: Scope, receive: Receive, send: Send) -> None:
    said = problem(
        503, "unavailable", "Unavailable",
        "the control plane that leads went away during this request, and nobody knows whether it was "
        "carried out; look, and ask again",
    )  # fmt: skip
    await said(scope, receive, send)


def _may_go(scope: Scope) -> bool:
    """Whether a request is one that the leader should answer."""
    if scope["type"] != "http" or any(name == PASSED_ON for name, _ in scope["headers"]):
        return False
    path, reads = scope["path"], scope["method"] in _READS
    return not (path in _OWN or (reads and path.startswith(_FILES)))


def _request(leader: str, scope: Scope, body: _Body) -> httpx2.Request:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    target = path.partition(b"?")[0] + (b"?" + query if query else b"")
    dropped = _HOP_BY_HOP | ({b"content-length"} if body.empty else set())
    return httpx2.Request(
        scope["method"],
        httpx2.URL(leader).copy_with(raw_path=target),
        headers=[*(each for each in scope["headers"] if each[0] not in dropped), (PASSED_ON, b"1")],
        content=None if body.empty else body.chunks(),
        extensions={"timeout": _TIMEOUT.as_dict()},
    )


async def _tell(answer: httpx2.Response, send: Send) -> None:
    """Pass an answer on as it comes."""
    headers = [(name.lower(), value) for name, value in answer.headers.raw]
    kept = [each for each in headers if each[0] not in _HOP_BY_HOP]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
    async for chunk in answer.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _note(leader: str, error: httpx2.HTTPError) -> None:
    why = f"{type(error).__name__}{f' ({error})' if str(error) else ''}"
    log.info("the control plane that leads does not answer", extra={"at": leader, "why": why})
