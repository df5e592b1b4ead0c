"""What a gateway promises holds as well when it is a router somewhere else."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard.gateway.remote.gateway import RemoteGateway
from tests.gateway.conftest import Place
from tests.gateway.routers import Routers
from tests.gateway.test_addresses import *  # noqa: F403
from tests.gateway.test_authorization import *  # noqa: F403
from tests.gateway.test_calls import *  # noqa: F403
from tests.gateway.test_changes import *  # noqa: F403
from tests.gateway.test_dialects import *  # noqa: F403
from tests.gateway.test_sleep import *  # noqa: F403
from tests.gateway.test_traffic import *  # noqa: F403


@pytest.fixture
async def gateway(place: Place) -> AsyncIterator[RemoteGateway]:
    """One router at the place's address."""
    root = Path(tempfile.mkdtemp(prefix="rt"))
    routers = Routers(root, place.port)
    routers.api = f"127.0.0.1:{place.port + 1}"
    await routers.start(host="127.0.0.1")
    gateway = routers.gateway()
    while await gateway.ensure() is not None:
        await asyncio.sleep(0.05)
    await gateway.publish([])
    yield gateway
    await gateway.close(stop=False)
    await routers.end()
    shutil.rmtree(root, ignore_errors=True)
