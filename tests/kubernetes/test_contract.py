"""Replicas as pods keep the contract of every backend, in pods whose containers are processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.kubernetes.backend import KubernetesBackend
from modelyard.domain.deployment import DeploymentSpec, Key, Replica
from tests.backends import things
from tests.backends.contract import BackendContract, Shop
from tests.kubernetes import worlds
from tests.support.cluster.processes.environ import Image

FRONT = Path(__file__).with_name("front.py")


class PodWorld:
    """A cluster whose kubelet runs pods with a front that is played."""

    addresses = "127."

    def __init__(self, here: worlds.World, crashes: Path) -> None:
        self.here, self.crashes = here, crashes
        self.backend = here.backend
        self.path = here.path
        self.others: list[KubernetesBackend] = []

    async def pass_time(self) -> None:
        await asyncio.sleep(0.02)

    def identity(self, replica: Replica) -> object:
        """Each pod has an address of its own."""
        return replica.address

    async def crash(self, replica: Replica) -> None:
        """Its front is killed, and dies again whenever the kubelet starts it."""
        pod = self._pod(replica)
        (self.crashes / pod._value["metadata"]["name"]).touch()
        os.kill(next(p.container.pid for p in pod.parts if p.spec["name"] == "server"), signal.SIGKILL)

    async def speak(self, key: Key, replica: str) -> None:
        found = next(each for each in await self.backend.observe(key) if each.name == replica)
        (self.crashes / f"{self._pod(found)._value['metadata']['name']}.speak").touch()

    def failing(self) -> DeploymentSpec:
        return things.playing("fail")

    def restarted(self) -> KubernetesBackend:
        """As a new control plane finds it."""
        self.others.append(worlds.connected(self.here.kubeconfig))
        return self.others[-1]

    def _pod(self, replica: Replica) -> Any:
        keeper: Any = self.here.there.server.keeper
        host = replica.address.rpartition(":")[0]
        return next(pod for pod in keeper.pods.values() if pod.ip == host)


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    # Not below /tmp, where a pod finds a volume of its own.
    programs = Path(tempfile.mkdtemp(prefix="modelyard-", dir="/var/tmp"))
    crashes = programs / "crashes"
    crashes.mkdir()
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FRONT} "$@"\n')
    python.chmod(0o755)
    played = Image(path=f"{programs}:/usr/local/bin:/usr/bin:/bin", env={"CRASHES": str(crashes)})
    monkeypatch.setattr(worlds, "image", lambda name: played)
    async with worlds.world(tmp_path, processes=True) as here:
        made = PodWorld(here, crashes)
        yield Shop(made)
        for other in made.others:
            await other.close()
    shutil.rmtree(programs)


class TestKubernetesBackend(BackendContract):
    """Every test of the contract but that of guests, which are asked in `test_tasks.py`."""

    test_a_guest_answers = None  # type: ignore[assignment]
