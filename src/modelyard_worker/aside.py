"""Answers the requests of an async model side by side, on the event loop that its code runs on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Dict, Tuple

from modelyard_worker import context
from modelyard_worker.channel import Channel, Frame
from modelyard_worker.serve import Replies, cancelled

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Aside

WATCH_SECONDS = 0.05
"""A request's task is cancelled so soon after nobody waits for it any more."""


def run(connection: socket.socket, channel: Channel, replies: Replies, model: Aside) -> int:
    """Answer until the front is gone; it sends no more requests at a time than the model takes."""
    loop: asyncio.AbstractEventLoop = model.loop()
    tasks = _Tasks(loop, channel, replies, model)

    def readable() -> None:
        try:
            frames = channel.arrived()
        except OSError:
            frames = None
        if frames is None:
            loop.stop()
            return
        for frame in frames:
            tasks.take(frame)

    loop.add_reader(connection.fileno(), readable)
    loop.run_forever()
    return 0


class _Tasks:
    """Requests that are being answered, each in a task of its own."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, channel: Channel, replies: Replies, model: Aside
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._replies = replies
        self._model = model
        self._running: Dict[asyncio.Task[None], Tuple[int, context.Request]] = {}
        self._watches = False

    def take(self, frame: Frame) -> None:
        """Begin a request, in the order in which they come; answer anything else at once."""
        if frame.header.get("op") != "infer":
            reply = self._replies.reply(frame)
            if reply:
                self._channel.send(reply)
            return
        header = frame.header
        identity, slot = header["id"], header.get("slot")
        self._channel.note_begun(identity)
        request = context.Request(
            header.get("parameters") or {},
            header.get("deadline"),
            lambda: self._channel.is_abandoned(identity, slot),
        )
        if request.cancelled:
            self._channel.send(cancelled(identity))
            return
        task = self._loop.create_task(self._answer(frame, request))
        self._running[task] = identity, request
        task.add_done_callback(self._done)
        if not self._watches:
            self._watches = True
            self._loop.call_later(WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        """Cancel what nobody waits for, again and again: code may swallow it once."""
        for task, (_, request) in self._running.items():
            if request.cancelled:
                task.cancel()
        self._watches = bool(self._running)
        if self._watches:
            self._loop.call_later(WATCH_SECONDS, self._watch)

    def _done(self, task: asyncio.Task[None]) -> None:
        identity, _ = self._running.pop(task)
        try:
            if task.cancelled():  # before it had begun
                self._channel.send(cancelled(identity))
            else:
                task.result()
        except OSError:
            self._loop.stop()  # the front is gone

    async def _answer(self, frame: Frame, request: context.Request) -> None:
        context.enter_task(request)
        try:
            reply = await self._predicted(frame, request)
        except BaseException as error:  # noqa: BLE001 - a guest raises anything, SystemExit too; only this request fails
            identity = frame.header["id"]
            reply = cancelled(identity) if request.cancelled else self._replies.failed(identity, error)
        self._channel.send(reply)

    async def _predicted(self, frame: Frame, request: context.Request) -> bytes:
        header = frame.header
        identity = header["id"]
        started = time.perf_counter()
        inputs = self._channel.tensors(frame)
        if header.get("stream") and self._replies.streams:
            await self._stream(identity, inputs, request)
            outputs: Arrays = {}
        else:
            outputs = await self._model.predict(inputs, request.parameters)
        done = {"id": identity, "op": "result", "seconds": time.perf_counter() - started}
        if request.preprocess_seconds:
            done["preprocess"] = request.preprocess_seconds
        return self._channel.answer(done, outputs, header.get("slot"))

    async def _stream(self, identity: int, inputs: Arrays, request: context.Request) -> None:
        async with contextlib.AsyncExitStack() as stack:
            parts = self._model.parts(inputs, request.parameters)
            close = getattr(parts, "aclose", None)
            if close is not None:
                stack.push_async_callback(close)
            async for part in parts:
                if request.cancelled:
                    raise context.Cancelled("nobody waits for the answer any more")
                self._channel.send(self._channel.answer({"id": identity, "op": "part"}, part, None))
