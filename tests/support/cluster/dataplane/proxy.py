"""The Envoy of a data plane: started, told by files, and asked what it works by."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.support.cluster.dataplane import documents
from tests.support.cluster.dataplane.reading import Programme

_BINARY = Path(sys.executable).parent / "envoy"
_DIES_WITH_US = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
_PATIENCE_SECONDS = 20.0


class Proxy:
    """One Envoy for all gateways of a cluster."""

    def __init__(self) -> None:
        # A socket's path is short, whatever the place of the tests.
        self._directory = Path(tempfile.mkdtemp(prefix="data-plane-"))
        self._process: asyncio.subprocess.Process | None = None
        self._client: httpx2.AsyncClient | None = None
        self._written: dict[str, str] = {}
        self._clusters: set[str] = set()
        self._needed: set[str] = set()
        """Files whose last version it must work by."""

    async def program(self, wanted: Programme) -> None:
        """Work by this, with no request lost: first whom requests may go to, then how, then who is left."""
        self.locate(wanted.endpoints)
        names = set(wanted.endpoints)
        self._needed = {file for file in self._needed if file == "listeners.json"} | {"clusters.json"}
        await self._take_up("clusters.json", documents.clusters(names | self._clusters, self._directory))
        for name in wanted.hosts:
            self._write(documents.file_of("hosts", name), documents.hosts(name, wanted))
        self._write("listeners.json", documents.listeners(wanted, self._directory))
        self._needed = {"clusters.json", "listeners.json"}
        self._needed |= {documents.file_of("hosts", name) for name in wanted.hosts}
        if self._process is None:
            await self._start()
        await self._until(self._is_current)
        if self._clusters - names:
            # What was sent by the routes of before has left by then.
            await asyncio.sleep(0.5)
            await self._take_up("clusters.json", documents.clusters(names, self._directory))
        self._clusters = names

    def locate(self, endpoints: Mapping[str, list[str]]) -> None:
        """Say where these clusters' requests go from now on."""
        for name, addresses in endpoints.items():
            self._write(documents.file_of("endpoints", name), documents.endpoints(name, addresses))

    async def close(self) -> None:
        """End it."""
        if self._client is not None:
            await self._client.aclose()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def _take_up(self, file: str, resources: list[dict[str, Any]]) -> None:
        self._write(file, resources)
        if self._process is not None:
            await self._until(self._is_current)

    def _write(self, file: str, resources: list[dict[str, Any]]) -> None:
        document = documents.versioned(resources)
        if self._written.get(file) == document["version_info"]:
            return
        beside = self._directory / f".{file}"
        beside.write_text(json.dumps(document))
        os.replace(beside, self._directory / file)
        self._written[file] = document["version_info"]

    async def _start(self) -> None:
        bootstrap = self._directory / "bootstrap.json"
        bootstrap.write_text(json.dumps(documents.bootstrap(self._directory)))
        with (self._directory / "envoy.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _DIES_WITH_US, str(_BINARY), "--config-path", str(bootstrap),
                "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        transport = httpx2.AsyncHTTPTransport(uds=str(self._directory / "admin.sock"))
        self._client = httpx2.AsyncClient(transport=transport, base_url="http://envoy", trust_env=False)

    async def _until(self, holds: Any) -> None:
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while not await holds():
            if asyncio.get_running_loop().time() > deadline:
                log = (self._directory / "envoy.log").read_text()[-2000:]
                raise AssertionError(f"the data plane does not take its programme up: {log}")
            await asyncio.sleep(0.02)

    async def _is_current(self) -> bool:
        """Whether it works by what was written last."""
        assert self._client is not None
        with contextlib.suppress(httpx2.HTTPError, ValueError):
            answer = await self._client.get("/stats?format=json&filter=version_text|warming", timeout=2)
            stats = {each["name"]: each["value"] for each in answer.json()["stats"] if "name" in each}
            known = {str(value) for name, value in stats.items() if name.endswith("version_text")}
            waits = sum(value for name, value in stats.items() if "warming" in name)
            return waits == 0 and known.issuperset(self._written[file] for file in self._needed)
        return False
