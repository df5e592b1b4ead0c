"""Ending everything in order: the door first, then the replicas, each after its requests are done."""

from __future__ import annotations

import asyncio

from modelyard.control.platform import Platform
from modelyard.domain.deployment import Key, Phase

_LOOK_SECONDS = 0.05


async def stop_all(platform: Platform, *, grace_seconds: float, hurry: asyncio.Event) -> None:
    """Close the gateway, tell every replica to finish, and end those that do not within the grace.

    Once `hurry` is set nothing is waited for any more.
    """
    await platform.gateway.close(stop=True)
    deadline = platform.clock() + grace_seconds
    keys = await platform.backend.keys()
    await asyncio.gather(*(_stop(platform, key) for key in keys))
    while any([await _runs(platform, key) for key in keys]):
        if hurry.is_set() or platform.clock() > deadline:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    await asyncio.gather(*(_kill(platform, key) for key in keys))


async def _stop(platform: Platform, key: Key) -> None:
    for replica in await platform.backend.observe(key):
        await platform.backend.stop(key, replica.name)


async def _runs(platform: Platform, key: Key) -> bool:
    return any(each.phase is not Phase.FAILED for each in await platform.backend.observe(key))


async def _kill(platform: Platform, key: Key) -> None:
    for replica in await platform.backend.observe(key):
        await platform.backend.kill(key, replica.name)
