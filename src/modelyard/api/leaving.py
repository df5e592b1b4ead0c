"""Work that nobody waits for any more: its client hung up, and so it keeps no place that others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from modelyard.domain.errors import Unavailable

T = TypeVar("T")


async def while_awaited(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of `work`, which is ended when the client goes; raises Unavailable then, that nobody reads.

    The request's body must have been read, as what comes after it is that the client has gone.
    """
    doing = asyncio.create_task(work)
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Unavailable("the client is gone, and with it what it asked for")
        return doing.result()
    finally:
        for each in (doing, leaving):
            each.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
