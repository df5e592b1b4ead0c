"""What talking to a cluster costs: decoding, listing and following, in time and memory."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson

from bench.cluster_server import EVENTS, OBJECTS, deployment, pod
from bench.report import Table, add, measured
from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.client.queue import Limits
from modelyard.backends.kubernetes.client.transport import decoded
from modelyard.backends.kubernetes.informers import Informer


async def measure(rounds: int) -> list[Table]:
    """One table; the API server is another process with its answers ready."""
    table = measured(f"A cluster with {OBJECTS} pods and as many deployments")
    pods = orjson.dumps({"items": [pod(n) for n in range(OBJECTS)]})
    for name, decode in (("ours", decoded), ("orjson", orjson.loads), ("json", json.loads)):
        add(table, f"decode pods ({name})", [_timed(decode, pods) for _ in range(rounds)], "ms")
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.cluster_server"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        cluster = Cluster(Access(server=url), clock=time.time, limits=Limits(per_second=1e6, burst=1000))
        await cluster.version()
        add(table, "list deployments", [await _listed(cluster) for _ in range(rounds)], "ms")
        found = [await _followed(cluster) for _ in range(rounds)]
        add(table, "know all deployments by a watch", [each[0] for each in found], "ms")
        add(table, "take one event", [each[1] for each in found], "µs")
        add(table, "memory of what is known", [await _kept(cluster) for _ in range(rounds)], "MB")
        await cluster.close()
    finally:
        server.terminate()
        server.wait()
    size, count = len(pods) / 1e6, len(orjson.dumps(deployment(0, 1)))
    table.notes = f"The pods are {size:.1f} MB of JSON, each deployment {count} bytes, with owners of fields."
    return [table]


def _timed(decode: Callable[[bytes], Any], text: bytes) -> float:
    gc.collect()
    began = time.perf_counter()
    decode(text)
    return (time.perf_counter() - began) * 1e3


async def _listed(cluster: Cluster) -> float:
    began = time.perf_counter()
    listing = await cluster.list(kinds.DEPLOYMENT)
    took = (time.perf_counter() - began) * 1e3
    assert len(listing.items) == OBJECTS
    return took


async def _followed(cluster: Cluster) -> tuple[float, float]:
    """Milliseconds until all are known, and microseconds for each event after that."""
    told, done = 0, asyncio.Event()

    def changed(namespace: str, name: str) -> None:
        nonlocal told
        told += 1
        if told == OBJECTS + EVENTS:
            done.set()

    informer = Informer(cluster, kinds.DEPLOYMENT, changed=changed)
    began = time.perf_counter()
    task = asyncio.create_task(informer.run())
    await informer.until_synced()
    synced = time.perf_counter()
    await done.wait()
    ended = time.perf_counter()
    await _ended(task)
    return (synced - began) * 1e3, (ended - synced) * 1e6 / EVENTS


async def _kept(cluster: Cluster) -> float:
    """What an informer of all deployments holds."""
    gc.collect()
    tracemalloc.start()
    informer = Informer(cluster, kinds.DEPLOYMENT)
    task = asyncio.create_task(informer.run())
    await informer.until_synced()
    await _ended(task)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    assert len(informer.items()) == OBJECTS
    return held


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
