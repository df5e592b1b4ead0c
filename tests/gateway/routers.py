"""Real router processes, each with an address of its own, and gateways that are all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from modelyard.gateway.base import Certificate
from modelyard.gateway.remote import proof
from modelyard.gateway.remote.copy import DirectoryCopy
from modelyard.gateway.remote.gateway import RemoteGateway
from modelyard.gateway.remote.link import Router
from modelyard.gateway.remote.proof import Proof, Shown
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

TOKEN = "a-token-between-them"
SECRET = b"what every control plane of the installation knows"


def issuer(secret: bytes = SECRET, *, now: float | None = None) -> Certificate:
    """The authority of the installation."""
    return proof.authority_of(secret, now=time.time() if now is None else now)


def caller(secret: bytes = SECRET) -> ssl.SSLContext:
    """What a control plane calls routers with."""
    return proof.calling(proof.of_platform(issuer(secret), now=time.time()))


def shown() -> Shown:
    """What a control plane shows to routers."""
    return Shown(token=TOKEN, tls=caller())


def of_router(*, now: float | None = None, secret: bytes = SECRET) -> Proof:
    """What the control plane lays down for routers."""
    return proof.of_router(issuer(secret, now=now), now=time.time() if now is None else now)


def lay(directory: Path, laid: Proof) -> None:
    """Put it where routers read it, all at once, as a kubelet does."""
    directory.mkdir(exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    for name, text in (
        (proof.CERTIFICATE_FILE, laid.shown.chain),
        (proof.KEY_FILE, laid.shown.key),
        (proof.AUTHORITY_FILE, laid.believed),
    ):
        (fresh / name).write_text(text)
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(Path("..data") / name)
    beside = directory / "..data_new"
    beside.symlink_to(fresh.name)
    os.replace(beside, directory / "..data")


@dataclass(slots=True)
class RouterProcess:
    """One router as its pod would run it; it is killed with everything that it started."""

    name: str
    host: str
    port: int
    face_port: int
    health_port: int
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

    @property
    def face(self) -> str:
        """Of the port that the control plane talks to, which knows routers by another name than this."""
        return f"https://{self.host}:{self.face_port}"

    def caller(self, tls: ssl.SSLContext | None = None, **more: Any) -> httpx2.AsyncClient:
        """Who asks as a control plane does, or with something else to prove itself."""
        return _Named(base_url=self.face, verify=tls or caller(), trust_env=False, timeout=5, **more)

    async def ready(self, *, seconds: float = PATIENCE) -> None:
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
                answer = await client.get(f"http://{self.host}:{self.health_port}/readyz")
                return answer.status_code == 200
        return False

    async def talks(self) -> None:
        """Wait until a control plane may talk to it."""
        async with self.caller() as client:
            while True:
                with suppress(httpx2.HTTPError):
                    await client.get("/v1/news")
                    return
                assert self.process.returncode is None, "the router ended"
                await asyncio.sleep(0.05)

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
    health_port: int = field(default_factory=free_port)
    running: list[RouterProcess] = field(default_factory=list)
    listed: list[RouterProcess] | None = None
    """Those that the control plane sees; None means all that run."""
    api: str = "127.0.0.1:1"
    started: int = 0

    @property
    def certificates(self) -> Path:
        """What all of them have mounted."""
        return self.root / "certificates"

    async def start(self, *, host: str = "", directory: str | Path = "", **more: object) -> RouterProcess:
        """One more; `more` are its options, and `directory` that of an earlier one."""
        self.started += 1
        number = self.started
        host = host or f"127.0.{self.root.stat().st_ino % 250 + 1}.{number}"
        own = self.root / (directory or f"r{number}")
        self.root.mkdir(exist_ok=True)
        token = self.root / "token"
        token.write_text(TOKEN)
        if not self.certificates.exists():
            lay(self.certificates, of_router())
        options = {
            "host": host,
            "port": self.port,
            "face-port": self.face_port,
            "health-port": self.health_port,
            "certificates": self.certificates,
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
        ports = (self.port, self.face_port, self.health_port)
        started = RouterProcess(f"router-{number}", host, *ports, process, own)
        self.running.append(started)
        return started

    def gateway(self) -> RemoteGateway:
        """As each start of a control plane makes one."""
        copy = DirectoryCopy(self.root / "copy")
        return RemoteGateway(routers=self.list, shown=shown(), copy=copy, clock=time.time)

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


class _Named(httpx2.AsyncClient):
    """Knows whom it calls by the name that every router has."""

    async def send(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        request.extensions = {**request.extensions, "sni_hostname": proof.ROUTER}
        return await super().send(request, **more)
