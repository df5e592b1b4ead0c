"""The same tests as of one gateway, of a router somewhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from modelyard.gateway.remote.gateway import RemoteGateway
from tests.gateway.conftest import Place
from tests.gateway.routers import Routers


@pytest.fixture
async def gateway(place: Place) -> AsyncIterator[RemoteGateway]:
    """One router at the place's address, which keeps its files where the tests look for them."""
    root = place.directory.parent
    routers = Routers(root, place.port, api=f"unix:{place.sockets}/api.sock")
    await routers.start(host="127.0.0.1", directory=root, sockets=place.sockets)
    gateway = routers.gateway()
    while await gateway.ensure() is not None:
        await asyncio.sleep(0.05)
    await gateway.publish([])
    yield gateway
    await gateway.close(stop=False)
    await routers.end()
