"""Reconciling only while leading: of control planes that share a cluster, one writes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from modelyard.composing.rooms import Leadership
from modelyard.control.controller import Controller
from modelyard.domain.errors import ModelyardError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25


async def run(
    leadership: Leadership,
    made: Callable[[], Controller],
    stop: asyncio.Event,
    *,
    crowned: Callable[[], Awaitable[None]],
    deposed: Callable[[], Awaitable[None]],
) -> None:
    """Run a controller whenever this one leads, until told to stop; then end it in order, and resign.

    First `crowned` has everything looked at, since another one may have led meanwhile. A controller whose
    lead is lost is cancelled, which is safe at any moment: the next one goes on. Then `deposed` forgets what
    it had told others, so that nobody hears it again beside what the next one says.
    """
    candidate = asyncio.create_task(leadership.run(), name="lead")
    try:
        while not stop.is_set():
            if leadership.leads and await _begun(crowned):
                await _reign(leadership, made(), stop)
                if not stop.is_set():
                    await deposed()
            await _pause(stop)
    finally:
        candidate.cancel()
        await asyncio.gather(candidate, return_exceptions=True)


async def _begun(crowned: Callable[[], Awaitable[None]]) -> bool:
    """Whether a reign may begin; a database that is away is asked again."""
    try:
        await crowned()
    except ModelyardError as error:
        log.warning("nothing is decided yet: %s", error.message)
        return False
    return True


async def _reign(leadership: Leadership, controller: Controller, stop: asyncio.Event) -> None:
    with leadership.fence():
        working = asyncio.create_task(controller.run(), name="control")
    while leadership.leads and not stop.is_set() and not working.done():
        await _pause(stop)
    if stop.is_set():
        await controller.stop()
    elif not working.done():
        log.warning("another control plane may lead now; nothing more is written")
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _pause(stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await stop.wait()
