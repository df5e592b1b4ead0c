"""Commands beside a container that runs: by pipes, or at a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.cluster.commands import STDERR, STDOUT, Command
from tests.support.cluster.processes.containers import Container

_PIECE = 32 * 1024


async def opened(container: Container, command: Sequence[str], *, terminal: bool) -> Command:
    """A command in the container's tree and with its environment."""
    if not terminal:
        return Piped(await container.joined(command))
    master, slave = os.openpty()
    try:
        process = await container.joined(command, slave)
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    return AtTerminal(process, master)


@dataclass(slots=True)
class Piped:
    """A command whose output and errors are apart."""

    process: asyncio.subprocess.Process
    _queue: asyncio.Queue[tuple[int, bytes] | None] = field(default_factory=lambda: asyncio.Queue(64))
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _open: int = 0

    async def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(ConnectionError, RuntimeError):
            if not data:
                self.process.stdin.close()
                return
            self.process.stdin.write(data)
            await self.process.stdin.drain()

    async def read(self) -> tuple[int, bytes] | None:
        if not self._tasks:
            for number, stream in ((STDOUT, self.process.stdout), (STDERR, self.process.stderr)):
                assert stream is not None
                self._tasks.append(asyncio.create_task(self._pump(number, stream)))
            self._open = len(self._tasks)
        while self._open:
            found = await self._queue.get()
            if found is not None:
                return found
            self._open -= 1
        return None

    async def _pump(self, number: int, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(_PIECE):
            await self._queue.put((number, data))
        await self._queue.put(None)

    def resize(self, columns: int, rows: int) -> None:
        """It has no window."""

    async def wait(self) -> int:
        return _code(await self.process.wait())

    def kill(self) -> None:
        _kill(self.process)


@dataclass(slots=True)
class AtTerminal:
    """A command that has a terminal of its own."""

    process: asyncio.subprocess.Process
    master: int

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.master, data or b"\x04")

    async def read(self) -> tuple[int, bytes] | None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        while True:
            try:
                data = os.read(self.master, _PIECE)
            except BlockingIOError:
                ready.clear()
                loop.add_reader(self.master, ready.set)
                await ready.wait()
                loop.remove_reader(self.master)
                continue
            except OSError:  # nobody is at the other end any more
                return None
            return (STDOUT, data) if data else None

    def resize(self, columns: int, rows: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def wait(self) -> int:
        code = await self.process.wait()
        asyncio.get_running_loop().remove_reader(self.master)
        with contextlib.suppress(OSError):
            os.close(self.master)
        return _code(code)

    def kill(self) -> None:
        _kill(self.process)


def _code(code: int) -> int:
    return code if code >= 0 else 128 - code


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
