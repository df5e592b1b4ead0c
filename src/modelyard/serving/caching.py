"""Answers kept for equal requests: by what is asked and not how it is written, in a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from modelyard.oip.tensor import Tensor, total_bytes
from modelyard.serving.batching.merging import canonical
from modelyard.serving.jobs import Job, Prediction

HIT, MISS, COLLAPSED = "hit", "fwd=miss; stored", "fwd=miss; collapsed"
"""What Cache-Status says, as RFC 9211 has it."""
ENTRY_BYTES = 512
"""What an entry costs besides its tensors."""


@dataclass(slots=True, eq=False)
class Flight:
    """One call that several equal requests wait for."""

    key: bytes
    leader: Job
    """The job that workers see; no client's own, so that it goes on when one of them goes away."""
    followers: list[Job] = field(default_factory=list)


class ResponseCache:
    """The answers used last of one model in one version."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: OrderedDict[bytes, tuple[Tensor, ...]] = OrderedDict()
        self.flights: dict[bytes, Flight] = {}
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def key(self, job: Job) -> bytes | None:
        """What equal requests have in common: tensors, parameters, outputs. None for one that is not kept."""
        if not job.cacheable or job.on_part is not None:
            return None
        digest = blake2b(canonical(job.parameters), digest_size=24)
        for tensor in sorted(job.inputs, key=lambda each: each.name):
            head = f"\0{tensor.name}\0{tensor.datatype}\0{tensor.shape}\0{len(tensor.data)}\0"
            digest.update(head.encode())
            digest.update(tensor.data)
        return digest.digest()

    def find(self, key: bytes) -> Prediction | None:
        """The answer that is kept."""
        outputs = self._entries.get(key)
        if outputs is None:
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return Prediction(outputs, 0.0)

    def keep(self, key: bytes, outputs: tuple[Tensor, ...]) -> None:
        """Keep an answer, and let those go that were used longest ago."""
        size = _size(outputs)
        if size > self._limit:
            return
        # What is kept must not keep the memory that it was answered in.
        outputs = tuple(tensor._replace(data=bytes(tensor.data)) for tensor in outputs)
        if key in self._entries:
            self.bytes -= _size(self._entries.pop(key))
        self._entries[key] = outputs
        self.bytes += size
        while self.bytes > self._limit:
            self.bytes -= _size(self._entries.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything, as the model is loaded anew."""
        self._entries.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)


def _size(outputs: Sequence[Tensor]) -> int:
    return ENTRY_BYTES + total_bytes(outputs)
