"""A front and its worker in one process and without sockets: bytes in, bytes out, one turn after another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any

from modelyard.serving.application import Application
from modelyard.serving.catalog import Catalog
from modelyard.serving.config import parse_config
from modelyard.serving.entrance import Entrance
from modelyard.serving.errors import Failure
from modelyard.serving.faces import all_routes, named_routes
from modelyard.serving.grpc.calls import Calls
from modelyard.serving.grpc.methods import all_methods
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.server import Server
from modelyard.serving.http.shortcuts import no_plan
from modelyard.serving.logs import Log
from modelyard.serving.workers.link import Link
from modelyard.serving.workers.slots import Slots
from modelyard_worker.channel import Channel
from modelyard_worker.loaded import Loaded
from modelyard_worker.serve import Replies

Predict = Callable[[dict[str, Any]], dict[str, Any]]
SHAPE = {"datatype": "FP32", "shape": [-1, -1]}
SIGNATURE = {"inputs": [{"name": "input", **SHAPE}], "outputs": [{"name": "output", **SHAPE}]}


def identity(inputs: dict[str, Any]) -> dict[str, Any]:
    """The model that gives back what it gets."""
    return {"output": inputs["input"]}


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.protocol: Any = None
        self.has_ended = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        """Keep them."""
        self.written += parts

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def get_extra_info(self, name: str) -> None:
        """Nothing is known."""

    def set_protocol(self, protocol: Any) -> None:
        """Another protocol reads from here."""
        self.protocol = protocol

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Nothing more is written."""
        self.has_ended = True

    def pause_reading(self) -> None:
        """Who feeds it feeds it all the same."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self.written)
        self.written.clear()
        return data


class Guest:
    """A worker's loop in this process, fed by hand; stands in for its socket too."""

    def __init__(self, predict: Predict) -> None:
        self._given: list[bytes] = []
        self._said: list[bytes] = []
        loaded = Loaded({}, "CPU", {}, lambda inputs, _: predict(inputs))
        self._replies = Replies(Channel(self), {}, loaded)  # type: ignore[arg-type]
        self.seconds = 0.0

    def recv(self, _: int) -> bytes:
        """What the front wrote, then the end."""
        return self._given.pop() if self._given else b""

    def sendall(self, data: bytes) -> None:
        """Keep it for the front."""
        self._said.append(data)

    def answer(self, data: bytes) -> bytes:
        """What the worker says to these frames."""
        self._given.append(data)
        began = thread_time()
        self._replies.run()
        self.seconds += thread_time() - began
        said = b"".join(self._said)
        self._said.clear()
        return said


class Nobody:
    """Whom the model tells how it fares, and of whom the application asks it."""

    is_ready, obstacle, connections = True, None, 0

    def changed(self, hosted: HostedModel) -> None:
        """Nothing is made of it."""


class World:
    """A front without a socket."""

    def __init__(
        self,
        home: Path,
        connections: int,
        *,
        predict: Predict = identity,
        signature: dict[str, Any] = SIGNATURE,
        quick: bool = True,
        **limits: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        worker = {"interpreter": sys.executable, "package": ".", "config": {}}
        document = {
            "service": "m", "listen": "127.0.0.1:0", "version": "1", "state_path": str(home / "state.json"),
            "signature": signature, "worker": worker, "limits": limits,
        }  # fmt: skip
        config = parse_config(document)
        hosted = HostedModel(config.models[0], Nobody(), Log({}), settings_path=home / "worker.json")
        application = Application(Catalog((hosted,)), Nobody(), Log({}), shared_memory=False)
        application.offer(lambda: (all_routes(application, config, version="0"), named_routes(application)))
        accept = partial(Entrance, calls=Calls(application, all_methods(application)))
        self.server = Server(
            application,
            application.refuse,
            max_body_bytes=config.limits.max_body_bytes,
            idle_seconds=60.0,
            accept=accept,
            planner=application.plan if quick else no_plan,
        )
        self.hosted = hosted
        self.guest = Guest(predict)
        self._to_worker = Wire()
        self._slots = Slots()
        self._link = Link(loop, hosted.dispatcher, self._slots)
        self._link.connection_made(self._to_worker)  # type: ignore[arg-type]
        hosted.dispatcher.obstacle = None
        hosted.dispatcher.attach(self._link)
        self.wires = [Wire() for _ in range(connections)]
        for wire in self.wires:
            wire.protocol = accept(self.server, loop)
            wire.protocol.connection_made(wire)

    def ask(self, questions: list[bytes]) -> None:
        """Each connection says something."""
        for wire, question in zip(self.wires, questions, strict=True):
            if question:
                wire.protocol.data_received(question)

    async def work(self) -> None:
        """Answer all that waits."""
        while self.hosted.dispatcher.unsettled:
            await asyncio.sleep(0)
            said = self.guest.answer(self._to_worker.taken())
            if said:
                self._link.data_received(said)
        await asyncio.sleep(0)

    async def turn(self, questions: list[bytes]) -> list[bytes]:
        """Each connection says something; what each is answered."""
        self.ask(questions)
        await self.work()
        return [wire.taken() for wire in self.wires]

    def close(self) -> None:
        """Leave nothing behind."""
        self.hosted.dispatcher.refuse_waiting(Failure("Over", "over"))
        self._link.surrender(Failure("Over", "over"))
        self._slots.close()
