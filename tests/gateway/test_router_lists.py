"""Who lists routers is asked rarely, and nobody waits long for one that does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelyard.gateway.remote import gateway as remote
from modelyard.gateway.remote.copy import DirectoryCopy
from modelyard.gateway.remote.gateway import RemoteGateway
from modelyard.gateway.remote.link import Router
from tests.gateway.routers import shown

_PATIENCE = 5.0


class Lister:
    """There is no router, and it can hang."""

    def __init__(self) -> None:
        self.asked, self.hangs = 0, False

    async def __call__(self) -> Sequence[Router]:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(600)
        return []


def a_gateway(path: Path, lister: Lister) -> RemoteGateway:
    return RemoteGateway(routers=lister, shown=shown(), copy=DirectoryCopy(path), clock=time.time)


async def test_looking_after_routers_all_the_time_lists_them_rarely(tmp_path: Path) -> None:
    lister = Lister()
    gateway = a_gateway(tmp_path, lister)
    for _ in range(10):
        await gateway.ensure()
        await gateway.routed()
    assert lister.asked == 1
    await gateway.close(stop=False)


async def test_a_list_that_hangs_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_LOOK_SECONDS", 0.05)
    lister = Lister()
    gateway = a_gateway(tmp_path, lister)
    assert await gateway.routed() == frozenset()
    lister.hangs = True
    while lister.asked < 2:
        await asyncio.sleep(0.01)
    assert await asyncio.wait_for(gateway.routed(), _PATIENCE) == frozenset()
    monkeypatch.setattr(remote, "_LIST_SECONDS", 0.1)
    await gateway.close(stop=False)
    await asyncio.wait_for(gateway.publish([]), _PATIENCE)
    failure = await asyncio.wait_for(gateway.ensure(), _PATIENCE)
    assert failure is not None
    assert "could not be listed within 0.1 s" in failure.message
    await gateway.close(stop=False)
