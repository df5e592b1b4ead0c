"""A place, a gateway, and clients that go through its front door."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from modelyard.gateway.base import Door
from modelyard.gateway.envoy.gateway import EnvoyGateway
from modelyard.gateway.envoy.lifecycle import Tuning
from modelyard.gateway.remote.gateway import RemoteGateway
from tests.gateway.routers import Routers
from tests.gateway.support import Upstream
from tests.support.ports import free_port


@dataclass(frozen=True)
class Place:
    """Directories and a port of one test."""

    directory: Path
    sockets: Path
    port: int

    @property
    def url(self) -> str:
        """Of the front door."""
        return f"http://127.0.0.1:{self.port}"

    def gateway(self, *, drain_seconds: float = 0.0, **door: object) -> EnvoyGateway:
        """A gateway for this place, as each start of a control plane makes one; `door` has more ports."""
        return EnvoyGateway(
            directory=self.directory,
            socket_directory=self.sockets,
            door=Door(port=self.port, **door),  # type: ignore[arg-type]
            api=self.sockets / "api.sock",
            domain="localhost",
            tuning=Tuning(drain_seconds=drain_seconds, concurrency=2),
        )

    def client(self, **more: object) -> httpx2.AsyncClient:
        """A client of the front door."""
        return httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=20, **more)  # type: ignore[arg-type]


StartUpstream = Callable[..., Awaitable[Upstream]]


@pytest.fixture
def place() -> Iterator[Place]:
    # pytest's own temporary directories are too deep for Unix sockets.
    root = Path(tempfile.mkdtemp(prefix="gw"))
    yield Place(root / "gateway", root / "s", free_port())
    shutil.rmtree(root)


@pytest.fixture
async def upstream(place: Place) -> AsyncIterator[StartUpstream]:
    place.sockets.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:

        async def start(name: str, *arguments: object, **more: object) -> Upstream:
            started = await Upstream.start(place.sockets, name, *arguments, **more)  # type: ignore[arg-type]
            stack.push_async_callback(started.kill)
            return started

        yield start


@pytest.fixture
async def gateway(place: Place) -> AsyncIterator[EnvoyGateway]:
    gateway = place.gateway()
    assert await gateway.ensure() is None
    yield gateway
    await gateway.close(stop=True)


@pytest.fixture
async def client(place: Place) -> AsyncIterator[httpx2.AsyncClient]:
    async with place.client() as client:
        yield client


@pytest.fixture
async def routers() -> AsyncIterator[Routers]:
    """Router processes, below a short path, as sockets have to be."""
    root = Path(tempfile.mkdtemp(prefix="rt"))
    found = Routers(root / "x", free_port())
    found.root.mkdir()
    yield found
    await found.end()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def remote(routers: Routers) -> AsyncIterator[RemoteGateway]:
    """The gateway that these routers are."""
    made = routers.gateway()
    yield made
    await made.close(stop=False)
