"""The API over a real control plane whose backend and gateway are memory, in this process or on loopback."""

from __future__ import annotations

import asyncio
import copy
import platform as machine
import secrets
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx2
import joblib
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import State

from modelyard.api import app as api
from modelyard.api.idempotency import Turns
from modelyard.artifacts import LocalArtifacts
from modelyard.backends.base import Answer, Task, TaskKind
from modelyard.backends.memory import MemoryBackend, MemoryEnvironments, Pace
from modelyard.control import loop as loops
from modelyard.control import tokens
from modelyard.control.controller import Controller, prepare
from modelyard.control.platform import Platform, Tls
from modelyard.domain.access import Actor, Member, Role, User, Verb
from modelyard.domain.model import Format
from modelyard.domain.project import Project, ProjectSpec
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from modelyard.gateway.base import Door
from modelyard.store import Database, members, projects, users
from tests.support.gateway import MemoryGateway
from tests.support.services import Services

ADMIN = Actor(name="admin", administrator=True)
QUICK = Pace(start_seconds=0.02, stop_seconds=0.02, build_seconds=0.02)
UPLOAD_BYTES = 8 * 1024 * 1024
HOST = RuntimeStatus(
    state=RuntimeState.READY,
    interpreter="/memory/host/bin/python",
    python=machine.python_version(),
    packages={each.name: each.version for each in metadata.distributions()},
    lock="host",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faces:
    """One installation: its API and what stands behind it."""

    app: FastAPI
    services: Services
    """The application, with services in front of it as a gateway would have them."""
    platform: Platform
    backend: MemoryBackend

    def http(self, token: str = "", **more: Any) -> httpx2.AsyncClient:
        """A client without a socket."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.services),
            base_url=self.platform.public_url,
            headers={**headers, **more.pop("headers", {})},
            timeout=20.0,
            **more,
        )

    async def secret(
        self, user: str = "admin", *, scope: tuple[Verb, ...] = (), days: float | None = None
    ) -> str:
        """A token of a user."""
        request = tokens.TokenRequest(scope=scope, days=days)
        return (await tokens.issue(self.platform, None, user, request)).secret

    async def member(self, name: str, role: Role, project: str = "default") -> str:
        """A token of a new user with one role in one project, which is made when missing."""
        at = self.platform.at()
        async with self.platform.database.begin() as tx:
            if await projects.get(tx, project) is None:
                await projects.insert(tx, Project(name=project, spec=ProjectSpec(), created_at=at))
            await users.insert(tx, User(name=name, created_at=at), password_hash=None)
            await members.put(tx, Member(project=project, user=name, role=role))
        return await self.secret(name)


@asynccontextmanager
async def opened(
    directory: Path, *, clock: Callable[[], float] = time.time, url: str = "http://127.0.0.1:8080"
) -> AsyncIterator[Faces]:
    """An installation below `directory`; nothing reconciles until a controller runs."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(_template(), directory / "modelyard.db")
    database = await Database.open(f"sqlite:///{directory / 'modelyard.db'}")
    backend = MemoryBackend(clock=clock, pace=QUICK)
    backend.answer = _answer
    platform = Platform(
        database=database,
        artifacts=LocalArtifacts(directory / "artifacts"),
        backend=backend,
        environments=MemoryEnvironments(clock=clock, host=HOST, pace=QUICK),
        gateway=MemoryGateway(),
        clock=clock,
        new_id=lambda: uuid.uuid4().hex[:16],
        random_token=lambda: secrets.token_urlsafe(32),
        master_key=b"a master key of the tests",
        public_url=url,
        door=Door(https_port=8443),
        tls=Tls(directory=directory / "tls", hosts=("localhost",)),
        version="1.2.3",
    )
    app = _application(platform)
    try:
        await prepare(platform)
        yield Faces(app=app, services=Services(app, platform), platform=platform, backend=backend)
    finally:
        await database.close()


@asynccontextmanager
async def reconciled(faces: Faces) -> AsyncIterator[None]:
    """With a controller at work."""
    controller = Controller(faces.platform, pace=loops.Pace(), alive=lambda pid: True)
    task = asyncio.create_task(controller.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Live:
    """An installation that answers on loopback, in a thread of this process."""

    url: str
    token: str
    faces: Faces
    loop: asyncio.AbstractEventLoop

    def call(self, coroutine: Any) -> Any:
        """Run something where the installation runs."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)


@contextmanager
def live(directory: Path) -> Iterator[Live]:
    """An installation on a free port of loopback, with a controller at work."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ready = threading.Event()
    made: list[Live] = []
    stop: list[asyncio.Event] = []
    failed: list[BaseException] = []

    async def main() -> None:
        async with opened(directory, url=url) as faces, reconciled(faces):
            config = uvicorn.Config(
                faces.services, log_config=None, lifespan="off", timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            task = asyncio.create_task(server._serve([listener]))
            made.append(Live(url, await faces.secret(), faces, asyncio.get_running_loop()))
            stop.append(asyncio.Event())
            ready.set()
            await stop[0].wait()
            server.should_exit = True
            await task

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
            ready.set()
            raise

    thread = threading.Thread(target=run, name="installation")
    thread.start()
    ready.wait(30)
    assert made, failed
    try:
        yield made[0]
    finally:
        made[0].loop.call_soon_threadsafe(stop[0].set)
        thread.join(30)


def _answer(task: Task) -> Answer:
    """Every model loads, and answers 1."""
    if task.kind == TaskKind.INSPECT:
        return Answer(
            result={"signature": _seen(task), "framework_version": "", "algorithm": "", "function": ""}
        )
    return Answer(
        result={"outputs": {"prediction": [1.0]}},
        stdout="hello from the model\n",
        device="CPU",
        duration_seconds=0.25,
    )


def _seen(task: Task) -> dict[str, Any] | None:
    """What a host of guests reads off a fitted estimator: how many columns it takes, and their names."""
    artifact = task.guest.artifact
    if artifact.format is not Format.SKLEARN or artifact.signature.inputs:
        return None
    model = joblib.load(task.guest.path / artifact.entry)
    names = getattr(model, "feature_names_in_", ())
    count = getattr(model, "n_features_in_", -1)
    input_ = {"name": "input", "datatype": "FP64", "shape": [-1, count], "columns": [str(n) for n in names]}
    return {"inputs": [input_]}


def _application(platform: Platform) -> FastAPI:
    """The application for this platform; its routes, which take long to make, are shared by all tests."""
    app = copy.copy(_routes())
    app.middleware_stack = None
    kept = {"platform": platform, "exposition": _exposition, "upload_bytes": UPLOAD_BYTES, "turns": Turns()}
    app.state = State(kept)
    return app


@cache
def _routes() -> FastAPI:
    class Nothing:
        version = "1.2.3"

        @staticmethod
        def new_id() -> str:
            return uuid.uuid4().hex[:16]

    return api.create(Nothing(), observe=lambda *_: None, exposition=_exposition)  # type: ignore[arg-type]


async def _exposition() -> tuple[bytes, str]:
    return b"modelyard_replicas 0\n", "text/plain"


@cache
def _template() -> Path:
    """An empty database, migrated once for all tests of this process."""
    directory = Path(tempfile.mkdtemp(prefix="modelyard-tests-"))
    path = directory / "template.db"

    async def migrate() -> None:
        await (await Database.open(f"sqlite:///{path}")).close()

    thread = threading.Thread(target=lambda: asyncio.run(migrate()))
    thread.start()
    thread.join()
    return path
