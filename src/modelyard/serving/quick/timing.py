"""When the rides of one call got where they are, written for clients and counted for operators."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, time_ns

from modelyard.serving.hosted import HostedModel
from modelyard.serving.jobs import Job, Prediction
from modelyard.serving.quick.ride import Ride

_SHORT = 4096
_WRITTEN = tuple(b"%.3f" % (microseconds / 1e3) for microseconds in range(_SHORT))
"""Milliseconds as Server-Timing has them."""
_MIDDLE = b", batch;dur=%b, ipc;dur=%b, preprocess;dur=%b, infer;dur=%b, serialize;dur="


def milliseconds(seconds: float) -> bytes:
    """Seconds as Server-Timing writes them."""
    microseconds = int(seconds * 1e6 + 0.5)
    return _WRITTEN[microseconds] if 0 <= microseconds < _SHORT else b"%.3f" % (seconds * 1e3)


class Legs:
    """Seconds that the rides of one call spent in each stage; some stages took the same for all."""

    def __init__(self, job: Job, outcome: Prediction) -> None:
        """`job` is any of them, answered by this outcome."""
        self.begun = job.begun_at
        self._answered = job.answered_at
        self.batch = job.merge_seconds
        away = max(job.answered_at - self.begun - self.batch, 0.0)
        self.inside = min(outcome.infer_seconds, away)
        self.ipc = away - self.inside
        self.preprocess = min(outcome.preprocess_seconds, self.inside)
        self.infer = max(self.inside - outcome.preprocess_seconds, 0.0)
        shared = (self.batch, self.ipc, self.preprocess, self.infer)
        self.middle = _MIDDLE % tuple([milliseconds(seconds) for seconds in shared])
        self.parse: list[float] = []
        self.queue: list[float] = []
        self.output: list[float] = []
        self.total: list[float] = []

    def timed(self, ride: Ride) -> bytes:
        """Note when a ride, which is answered now, got where it is; what Server-Timing says of it."""
        now = monotonic()
        received, submitted = ride.received_at, ride.submitted_at
        parse, queue = submitted - received, self.begun - submitted
        output, total = now - self._answered, now - received
        self.parse.append(parse)
        self.queue.append(queue)
        self.output.append(output)
        self.total.append(total)
        return b"".join(
            (
                b"parse;dur=", milliseconds(parse), b", queue;dur=", milliseconds(queue), self.middle,
                milliseconds(output), b", total;dur=", milliseconds(total),
            )
        )  # fmt: skip

    def count(self, hosted: HostedModel, protocol: str, *, infer_seconds: float, rows: int) -> None:
        """Count the requests as answered with so many rows together."""
        times = len(self.total)
        metrics, statistics = hosted.metrics, hosted.statistics
        metrics.count(protocol, 200, times)
        metrics.request_seconds.observe_all(self.total)
        metrics.queue_seconds.observe_all(self.queue)
        parse, queue, batch, ipc, preprocess, infer, serialize = metrics.stage_seconds
        parse.observe_all(self.parse)
        queue.observe_all(self.queue)
        for histogram, seconds in (
            (batch, self.batch), (ipc, self.ipc), (preprocess, self.preprocess), (infer, self.infer)
        ):  # fmt: skip
            histogram.repeat(seconds, times)
        serialize.observe_all(self.output)
        statistics.success.add(sum(self.total), times)
        statistics.queue.add(sum(self.queue), times)
        statistics.stages.add(sum(self.parse), infer_seconds * times, sum(self.output), times)
        statistics.rows += rows
        statistics.last_inference = time_ns() // 1_000_000


def rows_of_all(jobs: Sequence[Job]) -> int:
    """Rows of jobs together, each having one at least."""
    return sum([max(job.rows, 1) for job in jobs])
