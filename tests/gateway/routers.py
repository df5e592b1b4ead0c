"""Real router processes, each with an address of its own, and gateways that are all of them."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from modelyard.gateway.remote.copy import DirectoryCopy
from modelyard.gateway.remote.gateway import RemoteGateway
from modelyard.gateway.remote.link import Router
from tests.gateway.support import free_port

TOKEN = "a-token-between-them"


@dataclass(slots=True)
class RouterProcess:
    """One router as its pod would run it; it is killed with everything that it started."""

    name: str
    host: str
    port: int
    face_port: int
    process: Process
    directory: Path

    @property
    def router(self) -> Router:
        """As the control plane lists it."""
        return Router(name=self.name, address=f"{self.host}:{self.face_port}")

    @property
    def url(self) -> str:
        """Of its front door."""
        return f"http://{self.host}:{self.port}"

    async def ready(self, *, seconds: float = 20.0) -> None:
        """Wait until a kubelet would send clients here."""
        deadline = time.monotonic() + seconds
        while not await self.is_ready():
            assert self.process.returncode is None, "the router ended"
            assert time.monotonic() < deadline, "the router is not ready in time"
            await asyncio.sleep(0.05)

    async def is_ready(self) -> bool:
        """What its readiness says."""
        async with httpx2.AsyncClient(trust_env=False, timeout=2) as client:
            with suppress(httpx2.HTTPError, OSError):
                answer = await client.get(f"http://{self.host}:{self.face_port}/readyz")
                return answer.status_code == 200
        return False

    async def terminate(self) -> int:
        """End it as a kubelet does, and wait for it."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def kill(self) -> None:
        """All at once, as when a node dies."""
        for each in self.family():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        await self.process.wait()

    def family(self) -> list[psutil.Process]:
        """The router, its Envoy and its activator."""
        found = []
        for each in psutil.process_iter():
            with suppress(psutil.Error):
                words = each.cmdline()
                if each.pid == self.process.pid or any(str(self.directory) in word for word in words):
                    found.append(each)
        return found


@dataclass(slots=True)
class Routers:
    """All the routers of one test, which share a port as pods do, and a copy of their routes."""

    root: Path
    port: int
    face_port: int = field(default_factory=free_port)
    running: list[RouterProcess] = field(default_factory=list)
    listed: list[RouterProcess] | None = None
    """Those that the control plane sees; None means all that run."""
    api: str = "127.0.0.1:1"
    started: int = 0

    async def start(self, *, host: str = "", directory: str | Path = "", **more: object) -> RouterProcess:
        """One more; `more` are its options, and `directory` that of an earlier one."""
        self.started += 1
        number = self.started
        host = host or f"127.0.{self.root.stat().st_ino % 250 + 1}.{number}"
        own = self.root / (directory or f"r{number}")
        self.root.mkdir(exist_ok=True)
        token = self.root / "token"
        token.write_text(TOKEN)
        options = {
            "host": host,
            "port": self.port,
            "face-port": self.face_port,
            "api": self.api,
            "directory": own,
            "copy": self.root / "copy",
            "token-file": token,
            "settle-seconds": 0.5,
            "leave-seconds": 0.5,
            "drain-seconds": 10,
            "concurrency": 2,
            **more,
        }
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        log = (self.root / f"log{number}").open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "modelyard.router", *words, stdout=log, stderr=log
        )
        started = RouterProcess(f"router-{number}", host, self.port, self.face_port, process, own)
        self.running.append(started)
        return started

    def gateway(self) -> RemoteGateway:
        """As each start of a control plane makes one."""
        copy = DirectoryCopy(self.root / "copy")
        return RemoteGateway(routers=self.list, token=TOKEN, copy=copy, clock=time.time)

    async def list(self) -> Sequence[Router]:
        """What the control plane is told."""
        seen = self.running if self.listed is None else self.listed
        return [each.router for each in seen]

    async def gone(self, router: RouterProcess) -> None:
        """The control plane is told that it is no more."""
        self.running.remove(router)

    async def end(self) -> None:
        """End all that is left."""
        for router in list(self.running):
            await router.kill()
