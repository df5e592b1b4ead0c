"""A client without a socket sees what one with a socket sees, an hour in a moment."""

from __future__ import annotations

import asyncio

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.informers import Informer
from tests.cluster.manifests import config
from tests.support.cluster import inside, schemas
from tests.support.cluster.faults import Cut, Status
from tests.support.cluster.server import Server
from tests.support.cluster.verbs import Cluster
from tests.support.virtual import clock, on_virtual_time


def settings(name: str, **data: str) -> dict[str, object]:
    manifest = config(name, **data)
    manifest["metadata"]["namespace"] = "default"
    return manifest


@on_virtual_time
async def test_it_reads_writes_and_follows_for_an_hour() -> None:
    server = Server(Cluster(schemas.load("1.37"), clock=clock))
    cluster = inside.client(server, clock=clock)
    informer = Informer(cluster, kinds.CONFIG_MAP)
    task = asyncio.create_task(informer.run())
    await informer.until_synced()
    server.faults.add(Status(429, retry_after=1))
    await cluster.apply(settings("a", x="1"))
    await asyncio.sleep(1)
    assert informer.get("default", "a") is not None
    server.faults.add(Cut(), where=lambda method, path: method == "PATCH")
    await cluster.apply(settings("a", x="2"))
    await asyncio.sleep(3600)
    assert informer.stale_since is None
    await cluster.delete(kinds.CONFIG_MAP, "a", namespace="default")
    await asyncio.sleep(1)
    assert informer.items() == ()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await cluster.close()
