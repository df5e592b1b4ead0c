"""Watches that say nothing: cut by whoever is between, or deaf because the cluster was put back."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from modelyard.backends.kubernetes import informers, kinds
from modelyard.backends.kubernetes.client.cluster import Event, Listing
from modelyard.backends.kubernetes.client.observing import Unobserved
from modelyard.backends.kubernetes.informers import Informer, Pace
from modelyard.domain.errors import Unavailable
from tests.support.patience import PATIENCE


class Quiet:
    """A cluster whose watches break without a word after a while; with `refuses`, none begins."""

    observer = Unobserved()
    dice = staticmethod(random.Random(1).random)

    def __init__(self, *, lasts: float) -> None:
        self.lasts, self.refuses, self.version_now = lasts, False, "50"
        self.watched: list[str] = []
        self.lists = 0

    async def version(self) -> tuple[int, int]:
        return (1, 33)

    async def listing(self, wanted: object) -> Listing:
        self.lists += 1
        item = {
            "metadata": {"name": f"list-{self.lists}", "namespace": "n", "resourceVersion": self.version_now}
        }
        return Listing((item,), self.version_now)

    @contextlib.asynccontextmanager
    async def watching(self, wanted: object, *, version: str, **how: object) -> AsyncIterator[object]:
        if self.refuses:
            raise Unavailable("no answer")
        self.watched.append(version)
        yield self._events()

    async def _events(self) -> AsyncIterator[Event]:
        await asyncio.sleep(self.lasts)
        raise Unavailable("ReadError")
        yield


@contextlib.asynccontextmanager
async def followed(quiet: Quiet, pace: Pace) -> AsyncIterator[Informer]:
    informer = Informer(quiet, kinds.HORIZONTAL_POD_AUTOSCALER, pace=pace)  # type: ignore[arg-type]
    task = asyncio.create_task(informer.run())
    try:
        await informer.until_synced()
        yield informer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informers, "_SHORT_SECONDS", 0.02)


async def test_a_silent_watch_that_is_cut_is_opened_again_at_once_and_nothing_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(informers, "_MOST_SILENT", 1000)
    quiet = Quiet(lasts=0.1)
    async with (
        followed(quiet, Pace(first_pause=0.01, longest_pause=600)) as informer,
        asyncio.timeout(PATIENCE),
    ):
        while len(quiet.watched) < 8:
            assert informer.stale_since is None
            await asyncio.sleep(0.01)
        assert set(quiet.watched) == {"50"}


async def test_it_is_old_from_the_cut_on_when_it_cannot_be_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(informers, "_MOST_SILENT", 1000)
    quiet = Quiet(lasts=0.5)
    async with (
        followed(quiet, Pace(first_pause=0.01, longest_pause=0.02)) as informer,
        asyncio.timeout(PATIENCE),
    ):
        while not quiet.watched:
            await asyncio.sleep(0.01)
        begun, quiet.refuses = asyncio.get_running_loop().time(), True
        while informer.stale_since is None:
            await asyncio.sleep(0.01)
        assert informer.stale_since >= begun + 0.4


async def test_watches_that_break_as_soon_as_they_begin_count_as_none() -> None:
    quiet = Quiet(lasts=0.0)
    async with (
        followed(quiet, Pace(first_pause=0.01, longest_pause=0.05)) as informer,
        asyncio.timeout(PATIENCE),
    ):
        while informer.stale_since is None:
            await asyncio.sleep(0.001)
        assert informer.trouble == "ReadError"


async def test_a_cluster_that_was_put_back_is_read_anew_after_two_silent_watches() -> None:
    quiet = Quiet(lasts=0.1)
    async with (
        followed(quiet, Pace(first_pause=0.01, longest_pause=0.02)) as informer,
        asyncio.timeout(PATIENCE),
    ):
        quiet.version_now = "7"
        while [each["metadata"]["name"] for each in informer.items()] in ([], ["list-1"]):
            await asyncio.sleep(0.01)
        while "7" not in quiet.watched:
            await asyncio.sleep(0.01)
        assert quiet.watched.count("50") == 2
