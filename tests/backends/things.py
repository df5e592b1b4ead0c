"""Launches and tasks for the tests of backends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from modelyard.backends.base import Guest, Launch, Task, TaskKind
from modelyard.backends.local import Options
from modelyard.domain.deployment import DeploymentSpec, Key, Phase, Replica
from modelyard.domain.model import Artifact, File, Format, Serialization
from modelyard.domain.runtime import Runtime, RuntimeSpec
from tests.support.patience import PATIENCE

HERE = Path(__file__).parent
KEY = Key("default", "churn")
FAKES = Options(
    front=(sys.executable, "-I", "-S", str(HERE / "front.py")),
    worker=str(HERE / "guest"),
)
T = TypeVar("T")


def guest(path: Path, *, entry: str = "model.joblib", **changes: object) -> Guest:
    """A model in a directory."""
    artifact = Artifact(
        name="model",
        format=Format.SKLEARN,
        serialization=Serialization.JOBLIB,
        entry=entry,
        files=(File(path=entry, size=1, sha256="0" * 64),),
        framework_version="1.5.2",
    )
    given: dict[str, object] = {"artifact": artifact, "path": path, "interpreter": sys.executable}
    return Guest(**{**given, "runtime": "host", **changes})  # type: ignore[arg-type]


def launch(
    replica: str, path: Path, *, key: Key = KEY, spec: DeploymentSpec | None = None, **changes: object
) -> Launch:
    """One replica of `churn@3`, revision 2."""
    given: dict[str, object] = {
        "key": key,
        "replica": replica,
        "revision": 2,
        "model": "churn",
        "version": "3",
    }
    wanted = spec or DeploymentSpec(model="churn@3")
    return Launch(**{**given, "spec": wanted, "guest": guest(path), **changes})  # type: ignore[arg-type]


def playing(play: str, **changes: object) -> DeploymentSpec:
    """A spec that makes the fake front misbehave."""
    return DeploymentSpec(model="churn@3", env={"PLAY": play}, **changes)  # type: ignore[arg-type]


def task(kind: str = TaskKind.INSPECT, *, path: Path, entry: str = "fine", **changes: object) -> Task:
    """A question to the fake guest."""
    return Task(kind=kind, guest=guest(path, entry=entry), **changes)  # type: ignore[arg-type]


async def until(
    look: Callable[[], Awaitable[T]], good: Callable[[T], object], *, seconds: float = PATIENCE
) -> T:
    """Look again until what is seen is good."""
    async with asyncio.timeout(seconds):
        while not good(seen := await look()):
            await asyncio.sleep(0.02)
    return seen


def all_in(phase: Phase) -> Callable[[tuple[Replica, ...]], bool]:
    """Whether there are replicas and all are in one phase."""
    return lambda replicas: bool(replicas) and all(each.phase is phase for each in replicas)


def runtime(spec: RuntimeSpec, *, name: str = "classic") -> Runtime:
    """A runtime of the default project."""
    return Runtime(project="default", name=name, spec=spec, created_at=datetime(2026, 1, 1, tzinfo=UTC))


def carriers(text: str) -> list[int]:
    """Processes whose environment or command holds a text, such as the path of a test's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if text.encode() in said and state not in "ZX":
                found.append(int(entry.name))
    return found
