"""The cluster behind a real socket, so that real clients can be pointed at it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
import yaml

from tests.support.cluster import schemas
from tests.support.cluster.schemas import Resource
from tests.support.cluster.server import Server
from tests.support.cluster.verbs import Cluster

NEWEST = schemas.VERSIONS[-1]


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster that listens."""

    cluster: Cluster
    server: Server
    url: str

    def kubeconfig(self, directory: Path) -> Path:
        """A file that points clients at it."""
        path = directory / "kubeconfig.yaml"
        named = {"name": "test"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{**named, "cluster": {"server": self.url}}],
            "users": [{**named, "user": {}}],
            "contexts": [{**named, "context": {"cluster": "test", "user": "test", "namespace": "default"}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(document))
        return path


@contextlib.asynccontextmanager
async def running(
    version: str = NEWEST,
    *,
    clock: Callable[[], float] = time.time,
    extra: Iterable[tuple[Resource, str]] = (),
) -> AsyncIterator[Running]:
    """A cluster of this version on a free port; `extra` are custom resources with their schemas."""
    more = tuple(extra)
    cluster = Cluster(schemas.load(version, more), clock=clock, extra=[resource for resource, _ in more])
    async with serving(cluster) as found:
        yield found


@contextlib.asynccontextmanager
async def serving(cluster: Cluster) -> AsyncIterator[Running]:
    """A cluster that there is on a free port."""
    server = Server(cluster)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(server.app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    http = uvicorn.Server(config)
    task = asyncio.create_task(http.serve(sockets=[listening]))
    while not http.started:
        await asyncio.sleep(0.01)
    try:
        yield Running(cluster, server, f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        http.should_exit = True
        await task
