"""What an API server asks of nodes: logs and commands; and the figures that autoscalers ask for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.support.apiserver.mirror import Mirror
from tests.support.apiserver.papers import Papers
from tests.support.cluster import commands, logs, measuring, refusals
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.store import Object


@dataclass(frozen=True, slots=True)
class KubeletApi:
    """The paths of a kubelet's own server, and of `metrics.k8s.io`."""

    mirror: Mirror
    kubelet: ProcessKubelet

    def app(self) -> Starlette:
        """All of it."""
        place = "{namespace}/{pod}/{container}"
        return Starlette(
            routes=[
                Route(f"/containerLogs/{place}", self._logs),
                WebSocketRoute(f"/exec/{place}", self._exec),
                Route(f"/apis/{measuring.VERSION}", self._figures),
                Route(f"/apis/{measuring.VERSION}/{{rest:path}}", self._figures),
            ]
        )

    def _pod(self, params: dict[str, Any]) -> Object:
        kind = self.mirror.kind("Pod")
        found = self.mirror.store.get(kind, (params["namespace"], params["pod"]))
        if found is None:
            raise refusals.not_found(kind, params["pod"])
        return found

    async def _logs(self, request: Request) -> Response:
        """Begin to read, so that a refusal is still an answer of its own."""
        query = {**request.query_params, "container": request.path_params["container"]}
        try:
            found = logs.lines(self.kubelet, self._pod(request.path_params), query)
            first = await anext(found, b"")
        except Refusal as refusal:
            return JSONResponse(refusal.status, refusal.code)

        async def all_lines() -> AsyncIterator[bytes]:
            yield first
            async for line in found:
                yield line

        return StreamingResponse(all_lines(), media_type="text/plain")

    async def _exec(self, wire: WebSocket) -> None:
        asked = [("container", wire.path_params["container"]), *wire.query_params.multi_items()]
        wire._query_params = QueryParams(asked)
        await commands.serve(wire, lambda: self._pod(wire.path_params), self.kubelet.execute)

    async def _figures(self, request: Request) -> Response:
        path = [part for part in request.path_params.get("rest", "").split("/") if part]
        # Answers are made from the store and nothing else of the cluster.
        there: Any = self.mirror
        try:
            return JSONResponse(measuring.answer(there, self.kubelet.measure, path, request.query_params))
        except Refusal as refusal:
            return JSONResponse(refusal.status, refusal.code)


@contextlib.asynccontextmanager
async def serving(api: KubeletApi, address: str, own: Papers) -> AsyncIterator[int]:
    """Listen behind TLS at an address; the port."""
    certificate, key = own.pair("server")
    listening = socket.create_server((address, 0))
    config = uvicorn.Config(
        api.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1,
        ssl_certfile=str(certificate), ssl_keyfile=str(key),
    )  # fmt: skip
    http = uvicorn.Server(config)
    task = asyncio.create_task(http.serve(sockets=[listening]))
    while not http.started:
        await asyncio.sleep(0.01)
    try:
        yield listening.getsockname()[1]
    finally:
        http.should_exit = True
        await task
