"""Counters and histograms of one replica, and their Prometheus text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds."""
STAGE = "modelyard_stage_duration_seconds"
BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

STAGES = ("parse", "queue", "batch", "ipc", "preprocess", "infer", "serialize")
"""Where a request's time goes, in order; together they are all of it."""

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Family(NamedTuple):
    """Samples of one name, with the name's kind."""

    name: str
    kind: str
    text: str
    samples: tuple[str, ...]


class Histogram:
    """How often values fell below each bound."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = BUCKETS) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Count several values."""
        counts, bounds = self.counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.total += sum(values)

    def repeat(self, value: float, times: int) -> None:
        """Count a value so many times."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.total += value * times

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Its samples."""
        below = 0
        separator = "," if labels else ""
        for bound, count in zip((*self._bounds, "+Inf"), self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{{labels}{separator}le="{bound}"}} {below}'
        yield f"{name}_sum{{{labels}}} {self.total}"
        yield f"{name}_count{{{labels}}} {below}"


class Metrics:
    """Everything a replica counts."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = _labelled(labels)
        self.requests: dict[tuple[str, int], int] = {}
        """By protocol and status."""
        self.shed: dict[str, int] = {}
        """Requests turned away before anything was begun, by reason."""
        self.request_seconds = Histogram()
        self.queue_seconds = Histogram()
        self.inference_seconds = Histogram()
        self.batch_size = Histogram(BATCHES)
        self.stage_seconds = tuple(Histogram() for _ in STAGES)

    def count(self, protocol: str, status: int, times: int = 1) -> None:
        """Count an answered request, or several."""
        key = (protocol, status)
        self.requests[key] = self.requests.get(key, 0) + times

    def count_shed(self, reason: str) -> None:
        """Count a request that was turned away."""
        self.shed[reason] = self.shed.get(reason, 0) + 1

    def observe_stages(self, seconds: Iterable[float]) -> None:
        """Count how long each of STAGES took."""
        for histogram, value in zip(self.stage_seconds, seconds, strict=True):
            histogram.observe(value)

    def families(self, gauges: Mapping[str, float], counters: Mapping[str, float]) -> Iterator[Family]:
        """Every family of samples; `gauges` and `counters` are what is known only now, by name."""
        yield Family("modelyard_requests_total", "counter", "Requests answered.", tuple(self._requests()))
        for name, histogram, text in (
            (
                "modelyard_request_duration_seconds",
                self.request_seconds,
                "From the last byte read to the answer.",
            ),
            ("modelyard_queue_duration_seconds", self.queue_seconds, "Waiting for a worker."),
            ("modelyard_inference_duration_seconds", self.inference_seconds, "Inside the model."),
            ("modelyard_batch_size", self.batch_size, "Rows of a call to the model."),
        ):
            yield Family(name, "histogram", text, tuple(histogram.lines(name, self._labels)))
        stages = tuple(
            line
            for stage, histogram in zip(STAGES, self.stage_seconds, strict=True)
            for line in histogram.lines(STAGE, f'{self._labels},step="{stage}"')
        )
        yield Family(STAGE, "histogram", "Where the time of answered requests went.", stages)
        shed = tuple(
            f'modelyard_shed_total{{{self._labels},reason="{r}"}} {n}' for r, n in sorted(self.shed.items())
        )
        yield Family("modelyard_shed_total", "counter", "Requests turned away, nothing begun.", shed)
        for kind, values in (("gauge", gauges), ("counter", counters)):
            for name, value in values.items():
                yield Family(name, kind, "", (f"{name}{{{self._labels}}} {value:.17g}",))

    def _requests(self) -> Iterator[str]:
        for (protocol, status), count in sorted(self.requests.items()):
            labels = f'{self._labels},protocol="{protocol}",code="{status}"'
            yield f"modelyard_requests_total{{{labels}}} {count}"


def render(families: Iterable[Family]) -> bytes:
    """The exposition: families of several models that have one name are one family."""
    merged: dict[str, list[Family]] = {}
    for family in families:
        merged.setdefault(family.name, []).append(family)
    lines: list[str] = []
    for name, parts in merged.items():
        if parts[0].text:
            lines.append(f"# HELP {name} {parts[0].text}")
        lines.append(f"# TYPE {name} {parts[0].kind}")
        for part in parts:
            lines += part.samples
    return ("\n".join(lines) + "\n").encode()


def _labelled(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
