"""The platform as a service of a real systemd: begun, crashed, brought up to date, and taken away."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from modelyard.domain.deployment import Phase
from modelyard.domain.errors import ModelyardError
from tests.support import models
from tests.support.load import Load
from tests.support.namespaces import needed
from tests.support.platform import Running
from tests.support.ports import free_port

SYSTEMD = Path("/lib/systemd/systemd")
pytestmark = [
    pytest.mark.skipif(not SYSTEMD.exists(), reason="systemd is not installed here"),
    *needed("unshare", "nsenter", "systemctl"),
]
_BEGIN = f"mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system; {SYSTEMD} --user & wait"


class Machine:
    """A systemd of one user, beside the machine's own if there is one."""

    def __init__(self, home: Path) -> None:
        (home / "run").mkdir(mode=0o700)
        self.environ = {
            "PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"),
        }  # fmt: skip
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._holder = subprocess.Popen(
            [*apart, "sh", "-c", _BEGIN],
            env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def begin(self) -> None:
        """Wait until it runs."""
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        _until(lambda: bool(children.read_text()))
        self._inside = ["nsenter", "--target", children.read_text().split()[0], "--mount", "--pid"]
        state = ("systemctl", "--user", "is-system-running")
        # Units of the distribution that do not run here are none of ours.
        _until(lambda: self._asked(*state).stdout.strip() in ("running", "degraded"))

    def call(self, *words: str) -> str:
        """Run a command there."""
        done = self._asked(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def show(self, name: str) -> int:
        """A number that systemd knows of the service."""
        return int(self.call("systemctl", "--user", "show", "--value", "-p", name, "modelyard"))

    def end(self) -> None:
        """End it, and all that it began."""
        self._holder.kill()
        self._holder.wait(30)

    def _asked(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self._inside, *words]
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        made.begin()
        yield made
    finally:
        made.end()


async def test_systemd_keeps_the_platform_and_the_platform_its_services(
    machine: Machine, tmp_path: Path
) -> None:
    port = free_port()
    settings = f"[server]\nport = {port}\n"
    ours = Running(tmp_path / "data", port=port, settings=settings, variables=machine.environ)
    modelyard = (sys.executable, "-m", "modelyard")
    install = (*modelyard, "install", "systemd", "--user", "--data", str(ours.home))
    machine.call(*install)
    load = await asyncio.to_thread(_deployed, ours)
    first = machine.show("MainPID")
    async with load.running() as seen:
        machine.call("systemctl", "--user", "kill", "--signal=KILL", "--kill-whom=main", "modelyard")
        await asyncio.to_thread(_until, lambda: machine.show("MainPID") not in (0, first))
        await asyncio.to_thread(_until, lambda: _ready(ours) == 1)
    assert (seen.failed, seen.total > 0) == (0, True), seen.failures[:10]
    second = machine.show("MainPID")
    assert "found as it should be" in machine.call(*install)
    assert (machine.show("MainPID"), machine.show("NRestarts")) == (second, 1), "what runs is left alone"
    machine.call(*modelyard, "uninstall", "systemd", "--user")
    assert ours.processes() == []


def _deployed(ours: Running) -> Load:
    """A service there, and a load for it."""
    x, y = models.iris()
    _until(lambda: _ready(ours) == 0)
    with ours.client() as client:
        client.publish(LogisticRegression(max_iter=1000).fit(x, y), "kept", x_test=x)
        token = client.deploy("kept@1", name="kept").token
    tensor = {"name": "input", "datatype": "FP64", "shape": [1, 4], "data": list(x[0])}
    path = "/services/default/kept/v2/models/kept/infer"
    body = json.dumps({"inputs": [tensor]}).encode()
    return Load(ours.port, path, body, {"authorization": f"Bearer {token}"}, rate=50, connections=4)


def _ready(ours: Running) -> int:
    """How many replicas are; less than none while nobody answers."""
    try:
        with ours.client() as client:
            found = [each.phase for one in client.deployments.list() for each in one.status.replicas]
    except ModelyardError:
        return -1
    return found.count(Phase.READY)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.2)
