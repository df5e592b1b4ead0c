"""Serves one loaded model to the front that started this process, until that front is gone."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List

from modelyard_worker import context, loaders
from modelyard_worker.channel import Channel, Frame, frame_bytes
from modelyard_worker.explain import explain
from modelyard_worker.failures import Failure
from modelyard_worker.warmup import warm_up

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Loaded

FLUSH_SECONDS = 0.0005
"""Answers to requests that came together are sent together, unless the first has waited this long."""
_PR_SET_PDEATHSIG = 1


def serve(config: Dict[str, Any], fd: int) -> int:
    """Load the model and answer the front on the socket `fd`.

    Returns the exit status: 0 when the front went away, 1 when the model could not be loaded.
    """
    connection = socket.socket(fileno=fd)
    _tie_to_parent(connection)
    _settle()
    channel = Channel(connection)
    try:
        loaded = loaders.load(config)
        warmed = warm_up(loaded, config)
    except Failure as failure:
        if failure.__cause__ is not None:
            traceback.print_exception(
                type(failure.__cause__), failure.__cause__, failure.__cause__.__traceback__
            )
        channel.send(frame_bytes({"op": "failed", "reason": failure.reason, "message": failure.message}))
        return 1
    gc.collect()
    gc.freeze()
    hello: Dict[str, Any] = {
        "op": "loaded",
        "signature": loaded.signature,
        "device": loaded.device,
        "info": loaded.info,
    }
    hello.update(batchable=loaded.batchable, streams=loaded.stream is not None, warmup=warmed)
    hello.update(concurrency=1 if loaded.aside is None else loaded.aside.depth)
    channel.send(frame_bytes(json.loads(json.dumps(hello, default=str))))
    try:
        replies = Replies(channel, config, loaded)
        if loaded.aside is None:
            return replies.run()
        run: Callable[..., int] = importlib.import_module("modelyard_worker.aside").run
        return run(connection, channel, replies, loaded.aside)
    except OSError:
        return 0  # the front is gone


class Replies:
    """Answers frames in the order in which they come."""

    def __init__(self, channel: Channel, config: Dict[str, Any], loaded: Loaded) -> None:
        self._channel = channel
        self._config = config
        self._loaded = loaded
        self._seconds = 1.0
        """How long the last prediction took."""

    @property
    def streams(self) -> bool:
        """Whether the model yields its answers in parts."""
        return self._loaded.stream is not None

    def run(self) -> int:
        """Answer until the front is gone."""
        waiting: List[bytes] = []
        since = 0.0
        while True:
            if waiting and not self._may_wait(since):
                self._channel.send(*waiting)
                waiting = []
            frame = self._channel.receive()
            if frame is None:
                return 0
            reply = self.reply(frame)
            if reply:
                since = since if waiting else time.perf_counter()
                waiting.append(reply)

    def _may_wait(self, since: float) -> bool:
        """Whether answers may be held back a moment, because another will join them at once."""
        quick = self._seconds < FLUSH_SECONDS / 5 and time.perf_counter() - since < FLUSH_SECONDS
        return quick and self._channel.has_frame

    def reply(self, frame: Frame) -> bytes:
        """The answer to one frame; empty for one that has none."""
        operation = frame.header.get("op")
        if operation == "infer":
            return self._infer(frame)
        if operation == "ping":
            return frame_bytes({"op": "ping", "id": frame.header.get("id")})
        if operation == "slots":
            self._channel.use_slots(frame.header["fds"], frame.header["ledger"])
        return b""

    def _infer(self, frame: Frame) -> bytes:
        header = frame.header
        identity, slot = header["id"], header.get("slot")
        self._channel.note_begun(identity)
        parameters = header.get("parameters") or {}
        request = context.Request(
            parameters, header.get("deadline"), lambda: self._channel.is_abandoned(identity, slot)
        )
        if request.cancelled:
            return cancelled(identity)
        context.enter(request)
        started = time.perf_counter()
        try:
            inputs = self._channel.tensors(frame)
            if header.get("stream") and self._loaded.stream is not None:
                self._stream(identity, self._loaded.stream(inputs, request.parameters), request)
                outputs: Arrays = {}
            else:
                outputs = self._loaded.predict(inputs, parameters)
            seconds = self._seconds = time.perf_counter() - started
            done = {"id": identity, "op": "result", "seconds": seconds}
            if request.preprocess_seconds:
                done["preprocess"] = request.preprocess_seconds
            return self._channel.answer(done, outputs, slot)
        except BaseException as error:  # noqa: BLE001 - a guest raises anything, SystemExit too; only this request fails
            return cancelled(identity) if request.cancelled else self.failed(identity, error)

    def _stream(self, identity: int, parts: Iterator[Arrays], request: context.Request) -> None:
        """Send each part as soon as it is there, until the answer ends or nobody waits for it."""
        try:
            for part in parts:
                if request.cancelled:
                    raise context.Cancelled("nobody waits for the answer any more")
                self._channel.send(self._channel.answer({"id": identity, "op": "part"}, part, None))
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()

    def failed(self, identity: Any, error: BaseException) -> bytes:
        """The answer to a request that the model, or its code, did not bring to an end."""
        failure = explain(error, self._config, loading=False)
        cause = failure.__cause__ or error
        if not isinstance(cause, Failure):
            traceback.print_exception(type(cause), cause, cause.__traceback__)
        header = {
            "id": identity,
            "op": "error",
            "reason": failure.reason,
            "message": failure.message,
            "input": failure.reason == "SignatureMismatch" or _blames_input(cause),
        }
        return frame_bytes(header)


def cancelled(identity: int) -> bytes:
    """The answer to a request that nobody waits for."""
    message = "nobody waits for the answer any more"
    return frame_bytes({"id": identity, "op": "error", "reason": "Cancelled", "message": message})


def _blames_input(cause: BaseException) -> bool:
    """Whether an error says that the request's values, not the model, are wrong."""
    return isinstance(cause, ValueError) or type(cause).__name__ == "InvalidArgument"


def _settle() -> None:
    """Leave Ctrl-C to the front, show the guest's output line by line, let memory pressure hit us first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")
    except OSError:
        return  # not Linux, or not allowed: the front's own watch remains


def _tie_to_parent(connection: socket.socket) -> None:
    """End this process when the front ends, also while the guest computes."""
    with contextlib.suppress(OSError, AttributeError):  # where there is no prctl, the thread below remains
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(connection.fileno(),), daemon=True).start()


def _watch(fd: int) -> None:
    # Only the hang-up is waited for; data is the main thread's.
    poll = select.poll()
    poll.register(fd, getattr(select, "POLLRDHUP", 0x2000))
    poll.poll()
    os._exit(0)
