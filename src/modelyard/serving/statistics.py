"""What the statistics extension counts: how often, and how long in each stage, since the front started."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MOST_BATCH_SIZES = 256
"""Batches of other sizes than the first so many are counted together with the largest of these."""


class Stages(NamedTuple):
    """Seconds that one request spent in each stage."""

    total: float
    queue: float
    input: float
    infer: float
    output: float


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """It happened once more, or several times that took so long together."""
        self.count += times
        self.seconds += seconds

    def document(self) -> dict[str, int]:
        """As the protocol writes it."""
        return {"count": self.count, "ns": max(0, round(self.seconds * 1e9))}


@dataclass(slots=True)
class Batch:
    """Requests, or calls with one number of rows, and the seconds that they spent in each stage together."""

    count: int = 0
    input: float = 0.0
    infer: float = 0.0
    output: float = 0.0

    def add(self, input: float, infer: float, output: float, times: int = 1) -> None:
        """One more, or several that took so long together."""
        self.count += times
        self.input += input
        self.infer += infer
        self.output += output

    def document(self) -> dict[str, Any]:
        """As the protocol writes it."""
        return {
            "compute_input": Duration(self.count, self.input).document(),
            "compute_infer": Duration(self.count, self.infer).document(),
            "compute_output": Duration(self.count, self.output).document(),
        }


@dataclass(slots=True)
class Statistics:
    """Counters of one model."""

    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    cache_hit: Duration = field(default_factory=Duration)
    """Answers that another request's call gave, and the seconds until they were there."""
    cache_miss: Duration = field(default_factory=Duration)
    """Requests that the cache could not answer; looking for them takes no time worth counting."""
    stages: Batch = field(default_factory=Batch)
    batches: dict[int, Batch] = field(default_factory=dict)
    """Calls to the model by their rows; what else requests spent is not known of a call."""
    rows: int = 0
    last_inference: int = 0
    """Milliseconds since 1970."""

    def succeeded(self, stages: Stages, *, rows: int) -> None:
        """A request was answered with a prediction of so many rows."""
        self.success.add(stages.total)
        self.queue.add(stages.queue)
        self.stages.add(stages.input, stages.infer, stages.output)
        self.rows += rows
        self.last_inference = time.time_ns() // 1_000_000

    def executed(self, rows: int, seconds: float) -> None:
        """The model was called once, with so many rows; one call may be for several requests."""
        batch = self.batches.get(rows)
        if batch is None:
            if len(self.batches) >= MOST_BATCH_SIZES:
                rows = max(self.batches)
            batch = self.batches.setdefault(rows, Batch())
        batch.add(0.0, seconds, 0.0)

    def looked_up(self, *, hit: bool, seconds: float) -> None:
        """The cache was asked for a request that was answered so many seconds later."""
        if hit:
            self.cache_hit.add(seconds)
        else:
            self.cache_miss.add(0.0)

    def failed(self, seconds: float) -> None:
        """A request was begun and did not get a prediction."""
        self.fail.add(seconds)

    def document(
        self, name: str, version: str, *, resident_bytes: int, threads: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """An entry of `model_stats`."""
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_inference,
            "inference_count": self.rows,
            "execution_count": sum(batch.count for batch in self.batches.values()),
            "inference_stats": {
                "success": self.success.document(),
                "fail": self.fail.document(),
                "queue": self.queue.document(),
                **self.stages.document(),
                "cache_hit": self.cache_hit.document(),
                "cache_miss": self.cache_miss.document(),
            },
            "response_stats": {},
            "batch_stats": [
                {"batch_size": size, **batch.document()} for size, batch in sorted(self.batches.items())
            ],
            "memory_usage": [{"type": "CPU", "id": 0, "byte_size": resident_bytes}],
            **({"modelyard_threads": threads} if threads else {}),
        }
