"""Server-sent events: one JSON document each, with a comment now and then so that proxies stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi.responses import StreamingResponse

_QUIET_SECONDS = 15.0


def stream(documents: AsyncIterator[dict[str, Any]]) -> StreamingResponse:
    """An event stream of `documents`, ending when they end or the client leaves."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_lines(documents), media_type="text/event-stream", headers=headers)


async def _lines(documents: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    waiting: asyncio.Task[dict[str, Any] | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.create_task(_next(documents))
            done, _ = await asyncio.wait({waiting}, timeout=_QUIET_SECONDS)
            if not done:
                yield b": still here\n\n"
                continue
            document = waiting.result()
            waiting = None
            if document is None:
                return
            yield b"data: " + orjson.dumps(document) + b"\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()


async def _next(documents: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    return await anext(documents, None)
