"""One container: a process in a tree of its own, with its log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.support.cluster.processes.fences import Fence, Judge

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a container wrote."""

    at: str
    """RFC 3339 with nanoseconds, as container runtimes write it."""
    text: str


@dataclass(slots=True)
class Log:
    """What a container wrote, and a bell for those who follow."""

    lines: list[Line] = field(default_factory=list)
    over: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, text: str) -> None:
        """One more line."""
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
        self.lines.append(Line(at, text))
        self.ring()

    def ring(self) -> None:
        """Wake who follows."""
        self.news.set()
        self.news = asyncio.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run and in which tree."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    mounts: Sequence[Mapping[str, Any]]
    home: Path
    """Directory of the container's own files."""
    memory_bytes: int = 0
    judge: Judge | None = None
    """Where it may connect to; None lets it connect to everything."""


@dataclass(slots=True)
class Container:
    """A container that was started."""

    program: Program
    process: asyncio.subprocess.Process
    log: Log
    started_at: str
    out_of_memory: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _fences: list[Fence] = field(default_factory=list)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 and the signal for one that was ended by it."""
        code = self.process.returncode
        return code if code is None or code >= 0 else 128 - code

    @property
    def pid(self) -> int:
        """The program's own process, for those who join it; 0 before it began."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.program.home / "pid").read_text())
        return 0

    @property
    def last_words(self) -> str:
        """What it left in its termination message."""
        with contextlib.suppress(OSError):
            return (self.program.home / "termination-log").read_text()[:4096]
        return ""

    def tell(self, number: int) -> None:
        """Send it a signal; SIGKILL takes everything that it started with it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def gone(self) -> int:
        """Wait until it ended and everything that it wrote was read; its exit code."""
        await self.process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._fences:
            self._fences.pop().close()
        return self.exit_code or 0

    async def joined(self, argv: Sequence[str], terminal: int | None = None) -> asyncio.subprocess.Process:
        """A program beside it, in its tree and with its environment; by pipes, or at a terminal."""
        spec: dict[str, Any] = {"join": self.pid, "argv": list(argv), "env": dict(self.program.env)}
        spec |= {"cwd": self.program.cwd, "terminal": terminal is not None}
        fence = Fence(self.program.judge) if self.program.judge else None
        spec["fence"] = fence.far if fence else 0
        stream = asyncio.subprocess.PIPE if terminal is None else terminal
        path = self.program.home / f"join-{os.urandom(4).hex()}.json"
        path.write_text(json.dumps(spec))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", str(HERE / "launcher.py"), str(path),
            stdin=stream, stdout=stream, stderr=stream, pass_fds=(fence.far,) if fence else (),
        )  # fmt: skip
        self.enclose(fence)
        return process

    def enclose(self, fence: Fence | None) -> None:
        """A program of it began behind this, if behind any."""
        if fence is not None:
            fence.begin()
            self._fences.append(fence)

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Take down what it writes."""
        while line := await stream.readline():
            self.log.add(line.decode(errors="replace").rstrip("\n"))

    async def watch_memory(self) -> None:
        """End it when it and what it started use more than they may."""
        while self.exit_code is None:
            used = _resident(self.process.pid)
            if self.program.memory_bytes and used > self.program.memory_bytes:
                self.out_of_memory = True
                self.tell(signal.SIGKILL)
            await asyncio.sleep(0.2)

    def begin(self, *tasks: asyncio.Task[None]) -> None:
        """What goes on as long as it runs."""
        self._tasks.extend(tasks)


async def start(program: Program, log: Log, *, now: Callable[[], str]) -> Container:
    """Start a container."""
    home = program.home
    home.mkdir(parents=True, exist_ok=True)
    (home / "root").mkdir(exist_ok=True)
    (home / "pid").unlink(missing_ok=True)
    (home / "termination-log").write_text("")
    fence = Fence(program.judge) if program.judge else None
    spec = {
        "fence": fence.far if fence else 0,
        "argv": list(program.argv),
        "env": dict(program.env),
        "cwd": program.cwd,
        "root": str(home / "root"),
        "pid_file": str(home / "pid"),
        "mounts": [
            *program.mounts,
            {"path": "/dev/termination-log", "source": str(home / "termination-log")},
        ],
    }
    (home / "spec.json").write_text(json.dumps(spec))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", str(HERE / "launcher.py"), str(home / "spec.json"),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True, limit=1 << 22, pass_fds=(fence.far,) if fence else (),
    )  # fmt: skip
    container = Container(program, process, log, now())
    container.enclose(fence)
    assert process.stdout is not None
    container.begin(
        asyncio.create_task(container.read(process.stdout)), asyncio.create_task(container.watch_memory())
    )
    return container


def usage(container: Container) -> tuple[float, int]:
    """Processor seconds and resident bytes of a container and all that it started."""
    seconds, size = 0.0, 0
    with contextlib.suppress(psutil.NoSuchProcess):
        whole = psutil.Process(container.process.pid)
        for each in (whole, *whole.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                seconds += times.user + times.system
                size += each.memory_info().rss
    return seconds, size


def _resident(pid: int) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        whole = psutil.Process(pid)
        found = 0
        for each in whole.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += int(each.memory_info().rss)
        return found
    return 0
