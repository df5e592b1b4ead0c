"""A worker's operating-system process: started with exactly the configured environment, ended for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Sequence

from modelyard.serving.config import WorkerConfig

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A started worker. Its exit is noticed through a descriptor: a reused pid is never mistaken for it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, popen: subprocess.Popen[bytes], news: asyncio.Event
    ) -> None:
        self._loop = loop
        self._popen = popen
        self._news = news
        self._pidfd = os.pidfd_open(popen.pid)
        self._has_exited = asyncio.Event()
        loop.add_reader(self._pidfd, self._exited)

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its process group."""
        return self._popen.pid

    @property
    def has_exited(self) -> bool:
        """Whether it is gone."""
        return self._has_exited.is_set()

    @property
    def status(self) -> int:
        """Exit code, negative for a signal; known once it is gone."""
        return self._popen.returncode if self._popen.returncode is not None else 0

    async def end(self) -> None:
        """Kill it and whatever it started, and wait until it is gone; works on a stopped process too."""
        self.kill()
        await self.gone()

    async def gone(self) -> None:
        """Wait until it is gone."""
        await self._has_exited.wait()

    def kill(self) -> None:
        """Kill it and whatever it started, if it still runs."""
        if not self.has_exited:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self._kill_group()

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        # It is a zombie until it is waited for, so the group's number is still its own.
        self._kill_group()
        self._popen.wait()
        self._has_exited.set()
        self._news.set()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)


def start(
    config: WorkerConfig,
    settings: str,
    *,
    channel: socket.socket,
    fds: Sequence[int],
    loop: asyncio.AbstractEventLoop,
    news: asyncio.Event,
) -> Process:
    """Start `PYTHON PACKAGE/__main__.py serve`; its output goes where ours goes.

    Raises OSError when the interpreter cannot be started.
    """
    command = [config.interpreter, os.path.join(config.package, "__main__.py"), "serve"]
    command += ["--config", settings, "--fd", str(channel.fileno())]
    popen = subprocess.Popen(
        command,
        env=dict(config.env),
        cwd=config.cwd,
        stdin=subprocess.DEVNULL,
        pass_fds=(channel.fileno(), *fds),
        start_new_session=True,
    )
    return Process(loop, popen, news)


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped the process, as SIGSTOP does."""
    return _stat(pid)[:1] in (["T"], ["t"])


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 when it is gone."""
    own = resident_own_bytes(pid)
    return own + sum(resident_bytes(child) for child in _children(pid)) if own else 0


def resident_own_bytes(pid: int) -> int:
    """Resident memory of a process alone; 0 when it is gone."""
    fields = _stat(pid)
    return int(fields[21]) * _PAGE if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, from the state on."""
    return _text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _children(pid: int) -> list[int]:
    return [int(child) for child in _text(f"/proc/{pid}/task/{pid}/children").split()]


def _text(name: str) -> str:
    """What a file says, nothing when it is gone.

    Opened by its name: a Path interns every part of it, and what CPython 3.11 has interned makes the table of
    such strings grow, by half a MiB at a time, for as long as workers come and go.
    """
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""
