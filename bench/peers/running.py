"""A server's processes: started, asked until they answer, weighed, ended."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import processes
from bench.http import Question
from bench.peers.servers import Place, Server
from bench.peers.workloads import Workload

READY_SECONDS = 90.0
ENDING_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Started:
    """A server that has answered."""

    server: Server
    place: Place
    question: Question
    process: psutil.Process
    ready_seconds: float

    def tree(self) -> list[psutil.Process]:
        """Its processes now."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu(self) -> float:
        """Processor seconds of all its processes until now."""
        return sum(_quiet(processes.cpu, each) for each in self.tree())

    def pss(self) -> float:
        """Proportional set size of all its processes, MiB."""
        return sum(_quiet(processes.pss, each) for each in self.tree())


@contextlib.contextmanager
def started(server: Server, work: Workload, models: Path) -> Iterator[Started]:
    """A server from its start until the block ends; raises RuntimeError when it does not come to answer."""
    with tempfile.TemporaryDirectory(prefix="my-peer-", ignore_cleanup_errors=True) as home:
        place = Place(work, models, Path(home), *free_ports())
        launch, question = server.launch(place), server.ask(place)
        log = Path(home) / "output.log"
        with log.open("wb") as output:
            began = time.perf_counter()
            child = subprocess.Popen(
                launch.command, env=dict(launch.environ), cwd=home, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        process = psutil.Process(child.pid)
        try:
            _await(child, question, log)
            yield Started(server, place, question, process, time.perf_counter() - began)
        finally:
            _end(child, process)


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on now; asked for one after the other they might be the same."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def ask(question: Question, *, timeout: float = 30.0) -> tuple[int, bytes, float]:
    """Status, body and seconds of one request over a new connection; status 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", question.port, timeout=timeout)
    try:
        connection.connect()
        began = time.perf_counter()
        connection.request("POST", question.path, question.body, question.headers)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, body, time.perf_counter() - began
    except (OSError, http.client.HTTPException):
        return 0, b"", 0.0
    finally:
        connection.close()


def _await(child: subprocess.Popen[bytes], question: Question, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    status, body = 0, b""
    while time.monotonic() < deadline:
        status, body, _ = ask(question)
        if status == 200:
            return
        if child.poll() is not None or status == 422:
            break  # other errors may be those of a server that is still loading
        time.sleep(0.02)
    said = log.read_text(errors="replace").strip().splitlines()[-4:]
    raise RuntimeError(f"last answer {status} {body[:200]!r}; it wrote: {' / '.join(said)[-600:]}")


def _end(child: subprocess.Popen[bytes], process: psutil.Process) -> None:
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = process.children(recursive=True)
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(ENDING_SECONDS)
    _, alive = psutil.wait_procs(family, timeout=3)
    for each in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    child.kill()
    child.wait()


def _quiet(read: object, process: psutil.Process) -> float:
    try:
        return float(read(process))  # type: ignore[operator]
    except (psutil.Error, OSError):
        return 0.0  # a process that has just ended
