"""Asks of every connection that a container opens whether it may; the kernel asks, whatever program it is.

A container's programs begin behind a filter of system calls (seccomp) that stops at `connect` until its
owner has answered. So a pod is known by being that pod, and not by an address that it could choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

Judge = Callable[[str, int], bool]
"""Whether this address and port may be connected to."""
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_ASKED = struct.Struct("QIIiIQ6Q")
_ANSWER = struct.Struct("QqiI")
_GO_ON = 1
_MOST = 128


@dataclass(slots=True)
class Fence:
    """Around the programs that are started with its far end."""

    judge: Judge
    ends: tuple[socket.socket, socket.socket] = field(default_factory=socket.socketpair)
    _asks: int = -1

    @property
    def far(self) -> int:
        """What the program that begins must inherit."""
        return self.ends[1].fileno()

    def begin(self) -> None:
        """The program has its end: wait for what the kernel asks by."""
        self.ends[1].close()
        self.ends[0].setblocking(False)
        asyncio.get_running_loop().add_reader(self.ends[0].fileno(), self._take)

    def close(self) -> None:
        """Everything that it was around has ended."""
        loop = asyncio.get_running_loop()
        if self.ends[0].fileno() >= 0:
            loop.remove_reader(self.ends[0].fileno())
            self.ends[0].close()
        if self._asks >= 0:
            loop.remove_reader(self._asks)
            os.close(self._asks)
            self._asks = -1

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        _, received, _, _ = socket.recv_fds(self.ends[0], 1, 1)
        loop.remove_reader(self.ends[0].fileno())
        self.ends[0].close()
        if received:
            self._asks = received[0]
            loop.add_reader(self._asks, self._answer)

    def _answer(self) -> None:
        looking = select.poll()
        looking.register(self._asks, select.POLLIN)
        events = looking.poll(0)
        if not any(event & select.POLLIN for _, event in events):
            if events:
                self.close()  # nobody is behind it any more
            return
        with contextlib.suppress(OSError):  # who asked is gone by now
            asked = bytearray(_ASKED.size)
            fcntl.ioctl(self._asks, _RECEIVE, asked)
            number, pid, *_, address, length = _ASKED.unpack(asked)[:9]
            place = _place(_read(pid, address, min(length, _MOST)))
            good = place is None or self.judge(*place)
            # A real network says nothing until the caller has waited long enough.
            said = (number, 0, 0, _GO_ON) if good else (number, 0, -errno.ETIMEDOUT, 0)
            fcntl.ioctl(self._asks, _SEND, bytearray(_ANSWER.pack(*said)))


def _read(pid: int, address: int, length: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(length)


def _place(raw: bytes) -> tuple[str, int] | None:
    """Where a connection is to lead; None for what is no address of a network."""
    family = int.from_bytes(raw[:2], "little")
    port = int.from_bytes(raw[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port
    return None
