"""Our client, connected to a cluster of the tests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.client.queue import Limits
from tests.support.cluster.running import Running, running

HASTE = Limits(per_second=10_000, burst=10_000, at_once=8)


@dataclass(slots=True)
class Counting:
    """An observer that remembers."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """Verb, kind and code of each try."""
    followed: dict[str, Callable[[], float]] = field(default_factory=dict)

    def cluster_called(self, verb: str, kind: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append((verb, kind, code))

    def cluster_follows(self, what: str, stale_seconds: Callable[[], float]) -> None:
        self.followed[what] = stale_seconds


@contextlib.asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Cluster]:
    """A client of whatever listens there, that does not wait for chance."""
    chosen: dict[str, Any] = {"clock": time.time, "dice": lambda: 0.1, "limits": HASTE} | options
    cluster = Cluster(Access(server=url), **chosen)
    try:
        yield cluster
    finally:
        await cluster.close()


@contextlib.asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[Running, Cluster]]:
    """A cluster and a client of it."""
    async with running() as there, client(there.url, **options) as cluster:
        yield there, cluster
