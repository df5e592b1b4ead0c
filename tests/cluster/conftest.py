"""What the tests of the cluster of the tests share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster.here import Here


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    made = Here(tmp_path / "pods")
    looping = asyncio.create_task(made.control.run())
    yield made
    await made.kubelet.close()
    looping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looping
