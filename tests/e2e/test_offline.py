"""An installation without the Internet: a bundle, its script, and the demo, with loopback alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import needed
from tests.support.platform import Running
from tests.support.ports import free_port

_PATIENCE_SECONDS = 120
pytestmark = needed("unshare", "nsenter", "ip")


class Island(Running):
    """A platform, installed from a bundle, in a network of its own that leads nowhere."""

    @property
    def program(self) -> str:
        return str(self.home.parent / "installed/bin/modelyard")

    @property
    def environ(self) -> dict[str, str]:
        """Nothing of the developer's: no index, no proxy, no cache."""
        home = self.home.parent
        return {
            "PATH": "/usr/sbin:/usr/bin:/bin",
            "HOME": str(home),
            "PYTHON": sys.executable,
            **self.variables,
        }

    def install(self, bundle: Path) -> None:
        """Do as the documentation says."""
        self._cut_off("sh", str(bundle / "install.sh"), str(self.home.parent / "installed"))

    def start(self) -> Island:
        """Start the demo, and wait until it is done."""
        command = [
            "unshare",
            "--net",
            "sh",
            "-c",
            f"ip link set lo up; exec '{self.program}' up --demo --port {self.port}",
        ]
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(command, env=self.environ, stdout=out, stderr=out)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while "demo: done" not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.2)
        return self

    @property
    def said(self) -> str:
        return self.output.read_text()

    def ask(self, *words: str) -> str:
        """Run one command of ours beside it."""
        assert self.process is not None
        there = ("nsenter", f"--net=/proc/{self.process.pid}/ns/net")
        done = subprocess.run(
            [*there, self.program, *words], env=self.environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _cut_off(self, *command: str) -> None:
        done = subprocess.run(
            ["unshare", "--net", *command], env=self.environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Island]:
    running = Island(tmp_path / ".modelyard", port=free_port())
    yield running
    running.stop()


def test_a_bundle_serves_its_demo_without_any_network(island: Island, tmp_path: Path) -> None:
    create = [sys.executable, "-m", "modelyard", "bundle", "create", tmp_path / "bundle", "--no-images"]
    subprocess.run(create, check=True, capture_output=True, timeout=_PATIENCE_SECONDS)
    island.install(tmp_path / "bundle")
    island.start()
    assert "answers all 450 test images" in island.said
    assert "digits" in island.ask("status")
    assert island.ask("predict", "digits", "--sample").strip()
    assert island.process is not None
    island.process.send_signal(signal.SIGTERM)
    assert island.process.wait(60) == 0
    assert island.processes() == []
