"""Logs of pods whose containers are processes: as they come, over restarts, of several at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard.backends.kubernetes.client import logs
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.logs import Wanted
from tests.cluster.test_processes import Here, container
from tests.support.cluster.running import serving
from tests.support.connected import client
from tests.support.patience import PATIENCE

COUNTS = """
import sys, time
for n in range(5):
    print(sys.argv[1], n, flush=True)
    time.sleep(0.1)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[Here, Cluster]]:
    made = Here(tmp_path / "pods")
    looping = asyncio.create_task(made.control.run())
    async with serving(made.cluster) as there, client(there.url) as cluster:
        there.server.keeper = made.kubelet
        yield made, cluster
    await made.kubelet.close()
    looping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looping


def wanted(pod: str, *, follow: bool = True, tail: int | None = None) -> Wanted:
    return Wanted(namespace="default", pod=pod, follow=follow, tail=tail)


async def test_lines_of_several_pods_as_they_come(here: tuple[Here, Cluster]) -> None:
    there, cluster = here
    for name in ("a", "b"):
        there.pod(name, container("python", "-c", COUNTS, name, "0"), restartPolicy="Never")
    sources = [logs.lines(cluster, wanted(name)) for name in ("a", "b")]
    async with asyncio.timeout(PATIENCE):
        told = [line async for line in logs.merged(sources)]
    assert sorted(line.text for line in told) == sorted(f"{name} {n}" for name in "ab" for n in range(5))
    assert [line.at for line in told] == sorted(line.at for line in told)
    again = [logs.lines(cluster, wanted(name, follow=False, tail=2)) for name in ("a", "b")]
    assert {line.text for line in await logs.last(again, 3)} < {"a 3", "a 4", "b 3", "b 4"}


async def test_a_container_that_starts_again_is_followed_further(here: tuple[Here, Cluster]) -> None:
    there, cluster = here
    there.pod("c", container("python", "-c", COUNTS, "c", "1"), restartPolicy="OnFailure")
    told: list[str] = []
    async with asyncio.timeout(60):
        async for line in logs.lines(cluster, wanted("c")):
            told.append(line.text)
            if len(told) == 10:
                break
    assert told == [f"c {n}" for n in range(5)] * 2
