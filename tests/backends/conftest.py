"""A local backend with a fake front and a fake guest, and the certainty that nothing of it stays."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.local import Capacity, LocalBackend, Options
from modelyard.domain.deployment import DeploymentSpec, Key, Replica
from tests.backends import things
from tests.backends.contract import Shop


class LocalWorld:
    """Real processes below one directory with a short name, because sockets need one."""

    addresses = "unix:"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "model"
        self.path.mkdir()
        self.options = things.FAKES
        self.clock: Callable[[], float] = time.time
        self.backend = self.restarted()

    def restarted(self, **changes: object) -> LocalBackend:
        """The backend as a new control plane finds it."""
        return LocalBackend(
            directory=self.directory / "data",
            socket_directory=self.directory / "s",
            interpreter=sys.executable,
            clock=lambda: self.clock(),
            capacity=Capacity(cpu_millis=2000, memory_bytes=4 << 30, gpus=2),
            options=self.tuned(**changes),
        )

    def tuned(self, **changes: object) -> Options:
        """Options of the fakes with changes."""
        return replace(self.options, **changes)  # type: ignore[arg-type]

    def home(self, replica: str, key: Key = things.KEY) -> Path:
        """Directory of a replica."""
        return self.directory / "data/replicas" / key.project / key.service / replica

    def log(self, replica: str, key: Key = things.KEY) -> Path:
        """Log of a replica."""
        return self.directory / "data/logs" / key.project / key.service / f"{replica}.log"

    def identity(self, replica: Replica) -> object:
        return replica.pid

    async def pass_time(self) -> None:
        await asyncio.sleep(0.02)

    async def crash(self, replica: Replica) -> None:
        os.kill(replica.pid, signal.SIGKILL)

    async def speak(self, key: Key, replica: str) -> None:
        with self.log(replica, key).open("a") as log:
            log.write("more\n")

    def failing(self) -> DeploymentSpec:
        return things.playing("fail")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, and free of processes when the test is over."""
    made = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield made
    left = things.carriers(str(made))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(made)
    assert left == [], "processes were left behind"


@pytest.fixture
async def world(directory: Path) -> AsyncIterator[LocalWorld]:
    """A world whose replicas are killed through the backend at the end."""
    made = LocalWorld(directory)
    yield made
    backend = made.restarted()
    for key in await backend.keys():
        for replica in await backend.observe(key):
            await backend.kill(key, replica.name)
    assert await backend.keys() == frozenset()


@pytest.fixture
def shop(world: LocalWorld) -> Shop:
    return Shop(world)
