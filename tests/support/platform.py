"""The whole platform as a process of its own, for end-to-end tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from modelyard import Client
from tests.support.ports import free_port

_START_SECONDS = 60


class Running:
    """`modelyard up` on a data directory; it can be killed and started again.

    `variables` are added to its environment, `settings` is the text of its settings file.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        flags: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        settings: str = "",
    ) -> None:
        self.home = home
        self.variables = dict(variables or {})
        if settings:
            home.mkdir(parents=True, exist_ok=True)
            (home / "modelyard.toml").write_text(settings)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        self.output = home.parent / f"{home.name}.out"

    @property
    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_")}
        own = {"MODELYARD_HOME": str(self.home), "HOME": str(self.home.parent)}
        return {**kept, **own, **self.variables}

    def start(self) -> Running:
        """Start it and wait until the front door answers."""
        command = [sys.executable, "-m", "modelyard", "up", "--port", str(self.port), *self.flags]
        before = self._known_pid()
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(command, env=self.environ, stdout=out, stderr=out)
        deadline = time.monotonic() + _START_SECONDS
        while self._known_pid() in (None, before):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the platform did not start: {self.output.read_text()[-3000:]}")
            time.sleep(0.02)
        return self

    def client(self, **more: Any) -> Client:
        """A client as the administrator on this machine."""
        return Client(self.url, environ=self.environ, **more)

    def kill(self) -> None:
        """`kill -9` of the control plane alone."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def interrupt(self, *, timeout: float = 60) -> int:
        """Ctrl-C, and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout)

    def stop(self) -> None:
        """End it, and whatever it left."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        for left in self.processes():
            left.kill()

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to this data directory, by its command line."""
        marks = {str(self.home)}
        run = self._socket_directory()
        if run:
            marks.add(run)
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                if process.pid != os.getpid() and any(mark in words for mark in marks):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _known_pid(self) -> int | None:
        try:
            return int(json.loads((self.home / "server.json").read_text())["pid"])
        except (OSError, ValueError, KeyError):
            return None

    def _socket_directory(self) -> str:
        from modelyard.control import installation

        return str(installation.socket_directory(self.home)) if self.home.exists() else ""
