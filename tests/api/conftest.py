"""One installation for each test, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from modelyard.backends.memory import ManualClock
from tests.support.faces import Faces, opened

NOW = 1_790_000_000.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def faces(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Faces]:
    async with opened(tmp_path / "home", clock=clock) as made:
        yield made


@pytest.fixture
async def admin(faces: Faces) -> AsyncIterator[httpx2.AsyncClient]:
    """The administrator's client."""
    async with faces.http(await faces.secret()) as client:
        yield client
