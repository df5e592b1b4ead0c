"""`up` with a cluster: it starts, says which one, keeps its keys there, leads or waits, and says what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.cluster.running import Running, running


@dataclass(frozen=True, slots=True)
class Started:
    """A control plane that runs."""

    url: str
    home: Path
    process: asyncio.subprocess.Process

    async def get(self, path: str) -> Any:
        """What the API answers to the administrator."""
        token = (self.home / "admin-token").read_text().strip()
        async with httpx2.AsyncClient(timeout=10) as client:
            answer = await client.get(f"{self.url}{path}", headers={"authorization": f"Bearer {token}"})
        answer.raise_for_status()
        return answer.json()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def begun(home: Path, environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "KUBE"))}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "modelyard", "up",
        env={**clean, "MODELYARD_HOME": str(home), "MODELYARD_BACKEND__KIND": "kubernetes", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def up(home: Path, server: Running, **settings: str) -> AsyncIterator[Started]:
    home.mkdir(exist_ok=True)
    port = free_port()
    environ = {"MODELYARD_SERVER__PORT": str(port), "KUBECONFIG": str(server.kubeconfig(home)), **settings}
    process = await begun(home, environ)
    started = Started(f"http://127.0.0.1:{port}", home, process)
    try:
        assert process.stderr is not None
        line = await asyncio.wait_for(process.stderr.readline(), 40)
        assert b"answers at" in line, (line + await process.stderr.read()).decode()
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.communicate(), 40)


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as found:
        yield found


async def refused(home: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    home.mkdir(exist_ok=True)
    process = await begun(home, environ)
    _, said = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode is not None
    assert b"Traceback" not in said, said.decode()
    return process.returncode, said.decode()


async def test_a_platform_says_which_cluster_it_works_with(server: Running, tmp_path: Path) -> None:
    async with up(tmp_path / "home", server) as started:
        said = await started.get("/api/v1/system")
    assert said["backend"] == "kubernetes"
    which = {"server": server.url, "context": "test", "version": "1.37", "reachable": "yes"}
    assert which.items() <= said["cluster"].items()
    assert said["cluster"]["KEDA"] == "no"


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, said = await refused(tmp_path / "home", {"MODELYARD_KUBERNETES__KUBECONFIG": "/nowhere/config"})
    assert (code, "/nowhere/config" in said) == (2, True)


async def test_a_context_that_is_not_there_is_named(server: Running, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    environ = {
        "MODELYARD_KUBERNETES__KUBECONFIG": str(server.kubeconfig(tmp_path)),
        "MODELYARD_KUBERNETES__CONTEXT": "other",
    }
    code, said = await refused(tmp_path / "home", environ)
    assert (code, "other" in said) == (2, True)


async def test_a_kind_of_backend_that_nobody_knows_is_named(tmp_path: Path) -> None:
    code, said = await refused(tmp_path / "home", {"MODELYARD_BACKEND__KIND": "swarm"})
    assert (code, "backend.kind" in said) == (2, True)
