"""Answers that the platform compares with another revision's: the gateway marks both copies of a request."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple

import orjson

from modelyard.oip.datatypes import BYTES, DTYPES
from modelyard.oip.errors import Rejected
from modelyard.oip.tensor import Raw, Tensor, to_array
from modelyard.serving.batching.merging import rows_of
from modelyard.serving.errors import Problem
from modelyard.serving.jobs import Prediction

HEADER = b"x-modelyard-compare"
"""`ID`, or `+ID` when inputs may be kept as well; only the gateway may say it."""

REMEMBERED_SECONDS = 20.0
"""Whoever compares looks much more often than this."""

MOST = 1000
"""So many answers are remembered; with more, only those whose ids have small checksums, in every replica."""

MOST_ELEMENTS = 1024
"""Of each tensor, from its beginning."""

Done = Callable[[Prediction | Problem], None]


class Remembered(NamedTuple):
    """One answer."""

    id: str
    checksum: int
    at: float
    seconds: float
    rows: int
    size: int
    outputs: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]


class Comparisons:
    """The newest marked answers of one model, bounded in number, size and age."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: deque[Remembered] = deque()
        self._below = 1 << 32

    def watching(self, mark: bytes, inputs: Sequence[Tensor], received_at: float, done: Done) -> Done:
        """`done`, and after it, when the client has its answer, remember the answer."""
        identity = mark.decode("latin-1")[:100]
        bare = identity.removeprefix("+")
        checksum = zlib.crc32(bare.encode("latin-1"))
        if checksum >= self._below:
            return done
        kept = tuple(map(_shortened, inputs)) if bare is not identity else ()
        rows, size = max(rows_of(inputs), 1), sum(len(tensor.data) for tensor in inputs)

        def watched(outcome: Prediction | Problem) -> None:
            seconds = monotonic() - received_at
            # Copied before anyone else gets their memory, sent or not.
            outputs = () if isinstance(outcome, Problem) else tuple(map(_shortened, outcome.outputs))
            done(outcome)
            if outputs:
                at = self._clock()
                self._remember(Remembered(bare, checksum, at, seconds, rows, size, outputs, kept))

        return watched

    def document(self) -> bytes:
        """Everything remembered, as JSON."""
        self._forget()
        return orjson.dumps({"samples": [_sample(each) for each in self._kept]})

    def _remember(self, fresh: Remembered) -> None:
        self._kept.append(fresh)
        if len(self._kept) > MOST:
            self._forget()
        if len(self._kept) > MOST:
            # Halving what counts keeps the same requests here as in the replicas that have their copies.
            self._below //= 2
            self._kept = deque(each for each in self._kept if each.checksum < self._below)

    def _forget(self) -> None:
        oldest = self._clock() - REMEMBERED_SECONDS
        while self._kept and self._kept[0].at < oldest:
            self._kept.popleft()
        if len(self._kept) < MOST // 4:
            self._below = min(self._below * 2, 1 << 32)


def _shortened(tensor: Tensor) -> Tensor:
    """Its beginning, in memory of its own."""
    raw: Raw = tensor.data
    if tensor.datatype == BYTES:
        data = bytes(raw) if len(raw) <= 16 * MOST_ELEMENTS else b""
    else:
        data = bytes(memoryview(raw).cast("B")[: MOST_ELEMENTS * DTYPES[tensor.datatype].itemsize])
    return Tensor(tensor.name, tensor.datatype, tensor.shape, data)


def _sample(each: Remembered) -> dict[str, Any]:
    return {
        "id": each.id,
        "at": each.at,
        "seconds": each.seconds,
        "rows": each.rows,
        "size": each.size,
        "outputs": [_values(tensor) for tensor in each.outputs],
        "inputs": [_values(tensor) for tensor in each.inputs],
    }


def _values(tensor: Tensor) -> dict[str, Any]:
    shape = tensor.shape
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": _data(tensor)}


def _data(tensor: Tensor) -> list[Any]:
    if tensor.datatype == BYTES:
        if not tensor.data:
            return []
        try:
            elements = to_array(tensor).ravel().tolist()[:MOST_ELEMENTS]
        except Rejected:
            return []
        return [element.decode("utf-8", "replace") for element in elements]
    item = DTYPES[tensor.datatype].itemsize
    length = len(tensor.data) // item
    values: list[Any] = to_array(Tensor(tensor.name, tensor.datatype, (length,), tensor.data)).tolist()
    return values
