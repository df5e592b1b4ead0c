"""Request bodies as clients meant them: inflated, within the limit, without holding up others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from modelyard.oip.errors import Rejected
from modelyard.serving.errors import Problem, too_large
from modelyard.serving.http.coding import QUICK_BYTES, inflate, window_of
from modelyard.serving.http.messages import Exchange

MOST_SMALL_BYTES = 1 << 20

Take = Callable[[bytes], None]
Refuse = Callable[[Problem | Rejected], None]


def with_body(exchange: Exchange, limit: int, take: Take, refuse: Refuse) -> None:
    """Call `take` with the body, at once or when it is inflated.

    Raises Problem and Rejected at once, and what comes later goes to `refuse`: 400 for a damaged body,
    413 for one of more than `limit` bytes, 415 for an unknown coding, and whatever `take` raises.
    """
    coding = exchange.headers.get(b"content-encoding")
    window = window_of(coding) if coding is not None else 0
    if not window or len(exchange.body) <= QUICK_BYTES:
        take(inflate(exchange.body, window, limit) if window else exchange.body)
        return
    # zlib lets go of the interpreter, so other requests go on meanwhile.
    inflating = asyncio.get_running_loop().run_in_executor(None, inflate, exchange.body, window, limit)
    inflating.add_done_callback(partial(_inflated, take, refuse))


def _inflated(take: Take, refuse: Refuse, inflating: asyncio.Future[bytes]) -> None:
    try:
        take(inflating.result())
    except (Problem, Rejected) as error:
        refuse(error)
    except BaseException:
        refuse(Problem(500, "internal", "the inference server has a fault; see its log"))
        raise


def small_body(exchange: Exchange) -> bytes:
    """The body of a request that asks for no prediction, inflated; raises Problem 400, 413 and 415."""
    coding = exchange.headers.get(b"content-encoding")
    window = window_of(coding) if coding is not None else 0
    body = inflate(exchange.body, window, MOST_SMALL_BYTES) if window else exchange.body
    if len(body) > MOST_SMALL_BYTES:
        raise too_large(MOST_SMALL_BYTES)
    return body
