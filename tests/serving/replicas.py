"""Starts real replicas, the way a backend does, and talks to them in raw HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE

IDENTITY = """
def predict(inputs):
    return {"output": inputs["input"]}
"""

CHAOS = """
import ctypes, os, sys, time
kept = []
def predict(inputs):
    x = inputs["input"]
    action, value = int(x.flat[0]), float(x.flat[1])
    if action == 1:
        ctypes.string_at(0)
    elif action == 2:
        raise MemoryError("no room")
    elif action == 3:
        while True:
            pass
    elif action == 4:
        sys.exit(3)
    elif action == 5:
        os._exit(4)
    elif action == 6:
        kept.append(bytearray(os.urandom(1 << 20) * int(value)))
        time.sleep(5)
    elif action == 7:
        open("begun", "w").close()
        time.sleep(value)
    elif action == 8:
        raise ValueError("this value will not do")
    elif action == 9:
        raise RuntimeError("the model is broken")
    elif action == 10:
        print("a line from the guest")
        return {"output": x, "pid": [os.getpid()]}
    elif action == 11:
        import socket
        fd = int(sys.argv[sys.argv.index("--fd") + 1])
        os.write(fd, b"\\xff" * 64)
        time.sleep(5)
    elif action == 12:
        return {"output": [[float("nan")] * x.shape[1]] * x.shape[0]}
    return {"output": x}
"""

FP64 = {
    "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, -1]}],
    "outputs": [{"name": "output", "datatype": "FP64", "shape": [-1, -1]}],
}


SPAWNED: list[Replica] = []
"""Every replica that was started, so that none is left behind."""


@dataclass
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Replica:
    """A front that runs, with its worker."""

    process: subprocess.Popen[bytes]
    directory: Path
    listen: str

    @property
    def state(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.directory / "state.json").read_text())
            return found
        return {}

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def worker(self) -> int:
        return int(self.state["workers"][0]["pid"])

    def has_replaced(self, pid: int) -> bool:
        """Whether it is ready with another worker than this one, by one look at its state."""
        state = self.state
        pids = [worker["pid"] for worker in state.get("workers", ())]
        return state.get("phase") == "ready" and bool(pids) and pid not in pids

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    def connect(self, timeout: float = 30.0) -> socket.socket:
        if self.listen.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            sock.connect(self.listen.removeprefix("unix:"))
            return sock
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def connection(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", timeout=30)
        connection.sock = self.connect()
        return connection

    def call(
        self,
        method: str,
        path: str,
        content: bytes | str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        with contextlib.closing(self.connection()) as connection:
            return exchange(connection, method, path, content, headers)

    def infer(self, *values: float, headers: dict[str, str] | None = None) -> Answer:
        return self.call("POST", "/v2/models/echo/infer", infer_body(*values), headers)

    def wait_for(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not in {seconds} s; {self.state}\n{self.log}"
            time.sleep(0.02)

    def wait_ready(self) -> None:
        self.wait_for(lambda: self.state.get("phase") == "ready")

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def infer_body(*values: float) -> bytes:
    tensor = {"name": "input", "shape": [1, len(values)], "datatype": "FP64", "data": list(values)}
    return json.dumps({"inputs": [tensor]}).encode()


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    content: bytes | str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    connection.request(method, path, content, headers or {})
    response = connection.getresponse()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def spawn(
    *,
    code: str = IDENTITY,
    signature: dict[str, Any] | None = FP64,
    service: str = "echo",
    listen: str = "unix",
    worker: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    flags: tuple[str, ...] = (),
    **more: Any,
) -> Replica:
    """Start a front for a model's source code; it is not waited for."""
    directory = Path(tempfile.mkdtemp(prefix="my-"))
    (directory / "model").mkdir()
    (directory / "model" / "model.py").write_text(code)
    address = f"unix:{directory}/s" if listen == "unix" else f"127.0.0.1:{_free_port()}"
    found = find_spec("modelyard_worker")
    assert found is not None
    assert found.submodule_search_locations
    model = {
        "format": "python",
        "serialization": "python",
        "entry": "model.py",
        "path": str(directory / "model"),
        "files": [],
        "signature": signature,
        "runtime": "host",
        "threads": 1,
    }
    config = {
        "project": "default",
        "service": service,
        "name": service.partition("@")[0],
        "stage": "production",
        "model": "echo-model",
        "version": "3",
        "revision": 7,
        "replica": "r1",
        "listen": address,
        "signature": signature,
        "platform": "python",
        "shared_memory": True,
        "state_path": str(directory / "state.json"),
        "worker": {
            "interpreter": sys.executable,
            "package": next(iter(found.submodule_search_locations)),
            "count": 1,
            "config": model,
            "env": {"PATH": os.environ["PATH"], "GREETING": "hello"},
            "cwd": str(directory),
            "load_timeout_seconds": 20,
            "hang_timeout_seconds": 1,
            "memory_bytes": 0,
        }
        | (worker or {}),
        "limits": {"queue": 64, "request_timeout_seconds": 20, "max_body_bytes": 1 << 26, "drain_seconds": 10}
        | (limits or {}),
    } | more
    (directory / "replica.json").write_text(json.dumps(config))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "modelyard.serving", "--config", str(directory / "replica.json"), *flags],
            stdout=log,
            stderr=log,
            env=os.environ | {"PLATFORM_SECRET": "s3cret"},
        )
    running = Replica(process, directory, address)
    SPAWNED.append(running)
    return running


@contextlib.contextmanager
def replica(**options: Any) -> Iterator[Replica]:
    """A replica that is ready; it is gone afterwards, and so is its worker."""
    running = spawn(**options)
    try:
        running.wait_ready()
        yield running
    finally:
        workers = [worker["pid"] for worker in running.state.get("workers", [])]
        running.process.kill()
        running.process.wait(10)
        for pid in workers:
            running.wait_for(lambda pid=pid: not is_alive(pid), 5)  # type: ignore[misc]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
