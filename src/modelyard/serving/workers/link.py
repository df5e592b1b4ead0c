"""A front's connection to one worker: jobs go out, predictions come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

from modelyard.oip.tensor import Raw, Tensor, total_bytes
from modelyard.serving.dispatcher import Dispatcher
from modelyard.serving.errors import Failure, Problem, expired, unavailable
from modelyard.serving.jobs import Prediction, Work
from modelyard.serving.workers.frames import (
    INLINE_BYTES,
    Fixed,
    Frame,
    Layouts,
    NotAFrame,
    Splitter,
    frame,
    needed,
    padded,
    read_tensors,
    request_frame,
)
from modelyard.serving.workers.slots import COUNT, Slots

CLIENT_MISTAKES = ("SignatureMismatch",)
_QUICK_SECONDS = 0.0003
_SLOW_SECONDS = 0.002


@dataclass(slots=True, eq=False)
class _Sent:
    """A call that the worker has."""

    work: Work
    slot: int
    is_lent: bool = False
    """Whether the slot is given back by whoever looks into it last."""


class Link(asyncio.Protocol):
    """One worker as the dispatcher sees it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, dispatcher: Dispatcher, slots: Slots) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self._slots = slots
        self._splitter = Splitter()
        self._layouts = Layouts()
        self._transport: asyncio.Transport | None = None
        self._sent: dict[int, _Sent] = {}
        self._outgoing: list[bytes] = []
        self._number = 0
        self._depth = 1
        self._parallel = 1
        self._pace = 1.0
        """Seconds that a prediction takes, smoothed."""
        self.news = asyncio.Event()
        """Set when the model is loaded, loading failed, or the worker is gone."""
        self.loaded: Mapping[str, Any] | None = None
        self.failure: Failure | None = None
        self.is_lost = False
        self.ping_sent_at = 0.0
        """When the unanswered ping was sent; 0 for none."""
        self.on_loaded: Callable[[Link], None] | None = None

    @property
    def load(self) -> int:
        """Calls it has now."""
        return len(self._sent)

    @property
    def parallel(self) -> int:
        """Calls that it works on at a time: one, but for code that is async."""
        return self._parallel

    @property
    def has_room(self) -> bool:
        """Whether it takes another call: one at a time, more when waiting would cost more than they."""
        most = self._parallel if self._parallel > 1 else self._depth
        return len(self._sent) < most and self._slots.has_free and not self._has_suspect

    @property
    def oldest(self) -> Work | None:
        """The call it has had longest."""
        return next(iter(self._sent.values())).work if self._sent else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, and not their class.
        self._transport = cast("asyncio.Transport", transport)
        self._write(frame({"op": "slots", "fds": self._slots.fds, "ledger": self._slots.ledger_fd}))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.is_lost = True
        self.news.set()

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._splitter.feed(data):
                self._take(message)
        except NotAFrame as error:
            self.failure = Failure("WorkerCrashed", f"the worker's process broke the protocol: {error}")
            self.close()
        self._dispatcher.feed()

    def begin(self, work: Work) -> None:
        """Send a call to the worker."""
        self._number += 1
        slot = self._slots.take()
        self._sent[self._number] = _Sent(work, slot)
        if work.pieces:
            described = tuple((each.name, each.datatype, each.shape, each.size) for each in work.pieces)
            layout = self._layouts.laid(described)
        else:
            layout = self._layouts.of(work.inputs)
        header: dict[str, Any] = {"op": "infer", "parameters": work.parameters}
        if work.streams:
            header["stream"] = True
        if layout.end > INLINE_BYTES:
            began = monotonic()
            self._slots.write(slot, layout.places, _parts(work), layout.end)
            self._write(request_frame(Fixed(self._number, slot, work.deadline, in_slot=True), header, layout))
            work.front_seconds += monotonic() - began
        else:
            fixed = Fixed(self._number, slot, work.deadline)
            data = [tensor.data for tensor in work.inputs]
            self._write(request_frame(fixed, header, layout, padded(layout.places, data)))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.ping_sent_at = monotonic()
        self._write(frame({"op": "ping", "id": 0}))

    def abandon(self, work: Work) -> None:
        """Tell the worker that nobody waits for a call: it skips it, or its code may see that and stop."""
        for number, sent in self._sent.items():
            if sent.work is work:
                self._slots.abandon(sent.slot, number)

    def surrender(self, failure: Failure) -> None:
        """The worker is gone: the dispatcher gets back what it had begun, and what it had not."""
        begun = self._slots.begun()
        broken = [sent.work for number, sent in self._sent.items() if number <= begun]
        untouched = [sent.work for number, sent in self._sent.items() if number > begun]
        self._sent.clear()
        self._dispatcher.detach(self, untouched, broken, failure)

    def close(self) -> None:
        """Close the connection; the worker ends when it sees that."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, message: Frame) -> None:
        header = message.header
        match header.get("op"):
            case "result":
                self._result(message)
            case "error":
                self._error(header)
            case "part":
                self._part(message)
            case "ping":
                self.ping_sent_at = 0.0
            case "loaded":
                self.loaded = header
                self._parallel = _concurrency(header)
                self.news.set()
                if self.on_loaded is not None:
                    self.on_loaded(self)
            case "failed":
                self.failure = Failure(str(header.get("reason")), str(header.get("message")))
                self.news.set()
            case other:
                raise NotAFrame(f"the operation {other!r}")

    def _result(self, message: Frame) -> None:
        header = message.header
        sent = self._answered(header)
        described = header.get("tensors")
        if header.get("shm") is None:
            outputs = read_tensors(described, message.body)
        else:
            outputs = self._read(sent, described, float(header.get("moved") or 0.0))
        seconds = header.get("seconds")
        seconds = float(seconds) if isinstance(seconds, (int, float)) else 0.0
        prepared = header.get("preprocess")
        if total_bytes(outputs) + total_bytes(sent.work.inputs) <= INLINE_BYTES:
            self._adapt(seconds)
        self._settle(
            sent, Prediction(outputs, seconds, float(prepared) if isinstance(prepared, (int, float)) else 0.0)
        )

    def _read(self, sent: _Sent, described: Any, moved: float) -> tuple[Tensor, ...]:
        """The outputs in a slot, which is free again when nobody looks at large ones any more."""
        began = monotonic()
        view = self._slots.lend(sent.slot, needed(described))
        if view is None:
            raise NotAFrame("tensors beyond the end of their slot")
        outputs = read_tensors(described, view, lent=self._slots.may_lend)
        sent.is_lent = True
        sent.work.worker_seconds = moved
        sent.work.front_seconds += monotonic() - began
        return outputs

    def _part(self, message: Frame) -> None:
        number = message.header.get("id")
        sent = self._sent.get(number) if isinstance(number, int) else None
        if sent is None or not sent.work.streams:
            raise NotAFrame(f"a part of request {number!r}, which it does not have")
        outputs = read_tensors(message.header.get("tensors"), message.body)
        self._dispatcher.part(sent.work, Prediction(outputs, 0.0))

    def _error(self, header: Mapping[str, Any]) -> None:
        sent = self._answered(header)
        reason, message = str(header.get("reason")), str(header.get("message"))
        if header.get("input") or reason in CLIENT_MISTAKES:
            problem = Problem(400, "invalid", f"the model refused the input: {message}", reason=reason)
        elif reason == "Cancelled":
            # It may see the deadline pass a moment before we do.
            problem = expired(sent.work.jobs[0].timeout_seconds)
        elif reason == "OutOfMemory":
            problem = unavailable(message, reason=reason, safe=False)
        else:
            problem = Problem(500, "prediction_failed", message, reason=reason)
        self._settle(sent, problem)

    @property
    def _has_suspect(self) -> bool:
        """Whether a call is inside that may have killed a worker: it must be alone when it does so again."""
        return self._parallel > 1 and any(sent.work.is_suspect for sent in self._sent.values())

    def _answered(self, header: Mapping[str, Any]) -> _Sent:
        number = header.get("id")
        sent = self._sent.pop(number, None) if isinstance(number, int) else None
        if sent is None:
            raise NotAFrame(f"an answer to request {number!r}, which it does not have")
        return sent

    def _settle(self, sent: _Sent, outcome: Prediction | Problem) -> None:
        if not sent.is_lent:
            self._slots.give(sent.slot)
        self._dispatcher.completed(sent.work, outcome)

    def _adapt(self, seconds: float) -> None:
        self._pace += (seconds - self._pace) / 8
        if self._pace < _QUICK_SECONDS:
            self._depth = COUNT
        else:
            self._depth = 4 if self._pace < _SLOW_SECONDS else 1

    def _write(self, data: bytes) -> None:
        # What one turn of the loop brings goes out together: each write wakes the worker, which is dear.
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(data)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(outgoing))


def _parts(work: Work) -> list[tuple[Raw, ...]]:
    if work.pieces:
        return [each.parts for each in work.pieces]
    return [(tensor.data,) for tensor in work.inputs]


def _concurrency(header: Mapping[str, Any]) -> int:
    said = header.get("concurrency")
    return max(1, min(said, COUNT)) if type(said) is int else 1
