"""What the activator and the control plane tell one another: lines of JSON on a socket of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.gateway.activator.holding import Hall

_GATHER_SECONDS = 0.02
"""News that follow others so soon are told together."""
_AGAIN_SECONDS = 0.02
_LONGEST_LINE = 1 << 24


class Reports:
    """Tells every control plane that listens how many wait for whom, and hears from it who is awake.

    Each line is all there is to know, so that one that was missed is made good by the next.
    """

    def __init__(self) -> None:
        self._hall = Hall(self._changed)
        self._listeners: set[asyncio.StreamWriter] = set()
        self._awake: frozenset[str] = frozenset()
        self._pending: asyncio.TimerHandle | None = None
        self._told_at = 0.0

    @property
    def hall(self) -> Hall:
        """Where requests wait."""
        return self._hall

    def awake(self, service: str) -> bool:
        """Whether the gateway has a replica of the service, as far as was heard."""
        return service in self._awake

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one control plane until it goes."""
        self._listeners.add(writer)
        self._write(writer)
        try:
            while line := await reader.readline():
                self._heard(frozenset(json.loads(line)["awake"]))
        except (OSError, ValueError, KeyError):
            return
        finally:
            self._listeners.discard(writer)
            writer.close()

    def _heard(self, awake: frozenset[str]) -> None:
        self._awake = awake
        for service in self._hall.waiting.keys() & awake:
            self._hall.release(service)

    def _changed(self) -> None:
        if self._pending is not None:
            return
        loop = asyncio.get_running_loop()
        wait = max(self._told_at + _GATHER_SECONDS - loop.time(), 0.0)
        self._pending = loop.call_later(wait, self._tell)

    def _tell(self) -> None:
        self._pending, self._told_at = None, asyncio.get_running_loop().time()
        asked = self._hall.take_asked() if self._listeners else frozenset()
        for writer in self._listeners:
            self._write(writer, asked)

    def _write(self, writer: asyncio.StreamWriter, asked: frozenset[str] = frozenset()) -> None:
        waiting = self._hall.waiting
        line = {"waiting": waiting, "asked": sorted(asked | waiting.keys())}
        writer.write(json.dumps(line).encode() + b"\n")


class Listener:
    """The control plane's side of the same conversation; a connection that was lost is opened anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._awake: frozenset[str] = frozenset()
        self._waiting: dict[str, int] = {}
        self._asked: set[str] = set()
        self._news = asyncio.Event()

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many requests wait for each service, as last heard."""
        return self._waiting

    @property
    def is_connected(self) -> bool:
        """Whether the activator is there."""
        return self._writer is not None

    async def asked(self) -> frozenset[str]:
        """Wait until services are asked for that sleep: which."""
        await self._news.wait()
        self._news.clear()
        asked = frozenset(self._asked)
        self._asked.clear()
        return asked

    def tell(self, awake: frozenset[str]) -> None:
        """Say which services the gateway has a replica of."""
        self._awake = awake
        if self._writer is not None:
            self._writer.write(json.dumps({"awake": sorted(awake)}).encode() + b"\n")

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path, limit=_LONGEST_LINE)
                self.tell(self._awake)
                while line := await reader.readline():
                    self._hear(json.loads(line))
            except (OSError, ValueError, KeyError):
                pass  # it is being started again; until then nobody waits
            finally:
                self._lost()
            await asyncio.sleep(_AGAIN_SECONDS)

    def _lost(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._waiting = {}

    def _hear(self, line: Mapping[str, Any]) -> None:
        self._waiting = line["waiting"]
        self._asked.update(line["asked"])
        if self._asked:
            self._news.set()
