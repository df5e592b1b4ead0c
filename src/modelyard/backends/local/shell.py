"""Commands that run inside a replica's environment, on a terminal or on plain lines."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

from modelyard.backends.base import Output, Shell, Terminal
from modelyard.backends.local import files, preparing
from modelyard.domain.errors import FieldError, Invalid, NotFound

_CHUNK = 65_536
_MANY, _FEW = 64, 16
"""More pieces than that stop the reading, until there are few again."""
_SHELLS = ("/bin/bash", "/bin/sh")
# A new session has no terminal until one is asked for, which only a process of that session can do.
_ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


async def run(home: Path, command: Sequence[str], terminal: Terminal | None) -> Shell:
    """Begin a command in a replica's directory. Raises NotFound, Invalid, OSError."""
    words, env, cwd = await asyncio.to_thread(_prepared, home, tuple(command))
    if terminal is None:
        return _Session(*await asyncio.to_thread(_on_lines, words, env, cwd))
    env = {**env, "TERM": "xterm-256color"}
    return _Session(*await asyncio.to_thread(_on_terminal, words, env, cwd, terminal))


def _prepared(home: Path, command: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str], str]:
    """The words, the environment and the directory."""
    known = files.read_json(home / preparing.SHELL)
    if known is None:
        raise NotFound(f"there is no replica {home.name}; `modelyard status` shows those that there are")
    words = command or (next(shell for shell in _SHELLS if Path(shell).exists()),)
    env: dict[str, str] = known["env"]
    cwd = known["cwd"] if Path(known["cwd"]).is_dir() else str(home)
    if shutil.which(words[0], path=env.get("PATH")) is None and not (Path(cwd) / words[0]).exists():
        message = f"the replica's PATH has no program {words[0][:70]!a}"
        raise Invalid(f"command: {message}", errors=[FieldError("command", message)])
    return words, env, cwd


_Begun = tuple[subprocess.Popen[bytes], int, dict[int, str]]
"""The command, where its input goes, and where its outputs come from."""


# Not by the event loop: uvloop lets a child inherit the ends of other children's lines, which then never end.
def _on_lines(words: Sequence[str], env: dict[str, str], cwd: str) -> _Begun:
    inlet, (out, theirs_out), (err, theirs_err) = os.pipe(), os.pipe(), os.pipe()
    ours, theirs = (inlet[1], out, err), (inlet[0], theirs_out, theirs_err)
    return _begin(words, env, cwd, ours, theirs), inlet[1], {out: "stdout", err: "stderr"}


def _on_terminal(words: Sequence[str], env: dict[str, str], cwd: str, size: Terminal) -> _Begun:
    ours, theirs = pty.openpty()
    _set_size(ours, size)
    program = (sys.executable, "-I", "-S", "-c", _ON_TERMINAL, *words)
    return _begin(program, env, cwd, (ours,), (theirs, theirs, theirs)), ours, {ours: "stdout"}


def _begin(
    words: Sequence[str], env: dict[str, str], cwd: str, ours: tuple[int, ...], theirs: tuple[int, int, int]
) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = theirs
    try:
        return subprocess.Popen(
            words, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
    except BaseException:
        for each in ours:
            os.close(each)
        raise
    finally:
        for each in set(theirs):
            os.close(each)


class _Session:
    """A command that runs, with its input and its outputs; a terminal is both in one."""

    def __init__(self, process: subprocess.Popen[bytes], inlet: int, outlets: dict[int, str]) -> None:
        self._process, self._inlet, self._outlets = process, inlet, outlets
        self._terminal = inlet in outlets
        self._queue: asyncio.Queue[Output | None] = asyncio.Queue()
        self._paused: set[int] = set()
        self._loop = asyncio.get_running_loop()
        for descriptor in (inlet, *outlets):
            os.set_blocking(descriptor, False)
        for descriptor in outlets:
            self._loop.add_reader(descriptor, self._readable, descriptor)

    async def read(self) -> Output | None:
        """The next bytes of any output; None when all have ended."""
        if self._queue.empty() and not self._outlets:
            return None
        found = await self._queue.get()
        if self._queue.qsize() < _FEW:
            while self._paused:
                descriptor = self._paused.pop()
                self._loop.add_reader(descriptor, self._readable, descriptor)
        return found

    async def write(self, data: bytes) -> None:
        """Input; none at all ends it, which on a terminal is a key."""
        if not data and not self._terminal:
            self._close_inlet()
        left = memoryview(data or b"\x04")
        while left and self._inlet >= 0:
            try:
                left = left[os.write(self._inlet, left) :]
            except BlockingIOError:
                await asyncio.sleep(0.01)
            except OSError:
                return

    async def resize(self, terminal: Terminal) -> None:
        """Tell the kernel, which tells the program."""
        if self._terminal and self._inlet >= 0:
            _set_size(self._inlet, terminal)

    async def wait(self) -> int:
        """The exit code."""
        return await asyncio.to_thread(self._process.wait)

    async def close(self) -> None:
        """Hang up, and end the command with its session."""
        for descriptor in tuple(self._outlets):
            self._end(descriptor)
        self._close_inlet()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.to_thread(self._process.wait)

    def _readable(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # the kernel's way to say that nobody has the terminal's other end any more
        if not data:
            return self._end(descriptor)
        self._queue.put_nowait(Output(self._outlets[descriptor], data))
        if self._queue.qsize() > _MANY:
            self._loop.remove_reader(descriptor)
            self._paused.add(descriptor)

    def _end(self, descriptor: int) -> None:
        """One output has ended."""
        self._loop.remove_reader(descriptor)
        self._paused.discard(descriptor)
        del self._outlets[descriptor]
        if self._terminal:
            self._inlet = -1
        os.close(descriptor)
        if not self._outlets:
            self._queue.put_nowait(None)

    def _close_inlet(self) -> None:
        if self._inlet >= 0 and not self._terminal:
            os.close(self._inlet)
            self._inlet = -1


def _set_size(descriptor: int, terminal: Terminal) -> None:
    rows, columns = (min(max(each, 1), 10_000) for each in (terminal.rows, terminal.columns))
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
