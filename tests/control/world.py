"""A platform whose rooms are memory and whose clock is the event loop's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from modelyard.backends.memory import MemoryBackend, MemoryEnvironments, Pace
from modelyard.control import applying
from modelyard.control import loop as loops
from modelyard.control.controller import Controller, prepare
from modelyard.control.platform import Platform
from modelyard.domain import conditions
from modelyard.domain.access import Actor, Role
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key, Phase, Replica
from modelyard.domain.model import (
    Artifact,
    Datatype,
    File,
    Format,
    Model,
    ModelVersion,
    Serialization,
    Signature,
    TensorSpec,
)
from modelyard.domain.runtime import RuntimeState, RuntimeStatus
from modelyard.domain.views import State
from modelyard.store import Database, deployments, models, versions
from tests.support.gateway import MemoryGateway
from tests.support.inline import InlineDatabase
from tests.support.virtual import clock

ADMIN = Actor(name="admin", administrator=True)
CHURN = Key("default", "churn")
HOST = RuntimeStatus(
    state=RuntimeState.READY,
    interpreter="/memory/host/bin/python",
    python="3.11.7",
    packages={"scikit-learn": "1.7.2", "numpy": "2.3.1", "joblib": "1.5.0", "scipy": "1.16.0"},
    lock="host",
)


def member(name: str, role: Role, project: str = "default") -> Actor:
    """Somebody with one role in one project."""
    return Actor(name=name, roles={project: role})


class MemoryArtifacts:
    """Artifacts that are never looked into."""

    def __init__(self) -> None:
        self.swept: list[frozenset[str]] = []

    async def tree(self, files: Sequence[File]) -> Path:
        return Path("/memory/trees") / files[0].sha256

    async def verify(self, files: Sequence[File]) -> None:
        return None

    async def sweep(self, in_use: frozenset[str], now: float) -> None:
        self.swept.append(in_use)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One platform, and everything it stands on."""

    platform: Platform
    database: Database
    backend: MemoryBackend
    environments: MemoryEnvironments
    gateway: MemoryGateway

    async def deployment(self, key: Key = CHURN) -> Deployment:
        """As it is stored now."""
        async with self.database.read() as tx:
            found = await deployments.get(tx, key)
        assert found is not None
        return found

    async def ready(self, key: Key = CHURN) -> list[Replica]:
        """The replicas that are ready now, as the backend sees them."""
        return [r for r in await self.backend.observe(key) if r.phase is Phase.READY]

    async def until(self, condition: Callable[[], Any], *, seconds: float = 60.0) -> None:
        """Let time pass until the condition, a coroutine function, is true."""
        end = clock() + seconds
        while not await condition():
            assert clock() < end, f"not within {seconds} s"
            await asyncio.sleep(0.01)

    async def until_running(self, key: Key = CHURN, *, seconds: float = 60.0) -> Deployment:
        """Let time pass until the newest revision is wholly ready and nothing else runs."""

        async def settled() -> bool:
            d = await self.deployment(key)
            replicas = await self.backend.observe(key)
            return (
                d.status.observed_generation == d.generation
                and conditions.state(d) in (State.RUNNING, State.OFFLINE)
                and len(replicas) == d.spec.replicas
                and all(r.phase is Phase.READY and r.revision == d.revision for r in replicas)
                and {r.name for r in replicas} <= await self.gateway.routed()
            )

        await self.until(settled, seconds=seconds)
        return await self.deployment(key)

    async def deploy(self, *, key: Key = CHURN, **fields: Any) -> Deployment:
        """Apply a spec as administrator."""
        spec = DeploymentSpec(**{"model": "churn@1", **fields})
        await applying.apply(self.platform, ADMIN, key, spec)
        return await self.deployment(key)


def build(
    database: Database, *, pace: Pace | None = None, now: Callable[[], float] = clock, **values: Any
) -> World:
    """A platform on this database."""
    backend = MemoryBackend(clock=now, pace=pace)
    environments = MemoryEnvironments(clock=now, pace=pace, host=HOST)
    gateway = MemoryGateway()
    numbers = count(1)
    platform = Platform(
        database=database,
        artifacts=MemoryArtifacts(),  # type: ignore[arg-type]
        backend=backend,
        environments=environments,
        gateway=gateway,
        clock=now,
        new_id=lambda: f"id-{next(numbers)}",
        random_token=lambda: f"{next(numbers):043d}",
        master_key=b"a master key of the tests",
        **values,
    )
    return World(
        platform=platform, database=database, backend=backend, environments=environments, gateway=gateway
    )


@asynccontextmanager
async def running(
    *, pace: Pace | None = None, loop_pace: loops.Pace | None = None, start: bool = True, **values: Any
) -> AsyncIterator[World]:
    """A platform on virtual time with a control plane at work; `churn@1`, `churn@2` are published.

    `values` are of the platform itself.
    """
    world = build(InlineDatabase(), pace=pace, **values)
    await prepare(world.platform)
    await publish(world.database, "churn", 2)
    controller = Controller(world.platform, pace=loop_pace, alive=lambda pid: True)
    task = asyncio.create_task(controller.run()) if start else None
    try:
        yield world
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await world.database.close()


async def publish(database: Database, name: str, number: int, project: str = "default") -> None:
    """A model with this many versions, without files that anybody could load."""
    at = datetime.fromtimestamp(0, UTC)
    async with database.begin() as tx:
        await models.insert(
            tx,
            Model(project=project, name=name, created_at=at, latest=str(number), next_version=number + 1),
        )
        for each in range(1, number + 1):
            await versions.insert(tx, version(project, name, str(each)))


def version(project: str, name: str, number: str, **fields: Any) -> ModelVersion:
    """A small scikit-learn model."""
    signature = Signature(
        inputs=(TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, 2), columns=("a", "b")),),
        outputs=(TensorSpec(name="label", datatype=Datatype.INT64, shape=(-1,)),),
        sample={"input": [[1.0, 2.0]]},
    )
    artifact = Artifact(
        name="model",
        format=Format.SKLEARN,
        serialization=Serialization.JOBLIB,
        entry="model.joblib",
        files=(File(path="model.joblib", size=10, sha256=f"{name}{number}".ljust(64, "0")),),
        framework_version="1.7.2",
        signature=signature,
    )
    made = ModelVersion(
        project=project,
        model=name,
        version=number,
        artifacts=(artifact,),
        size=10,
        created_at=datetime.fromtimestamp(0, UTC),
        created_by="admin",
    )
    return replace(made, **fields)
