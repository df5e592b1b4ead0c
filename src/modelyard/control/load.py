"""What a service is asked and what its replicas use, as the autoscaler wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelyard.control import measuring
from modelyard.control.platform import Platform
from modelyard.domain.autoscaling import PER_REPLICA, Metric, Target
from modelyard.domain.deployment import Deployment, Phase, Replica
from modelyard.domain.following import Load, ReplicaLoad
from modelyard.domain.observation import MIRROR, Usage
from modelyard.domain.placement import Request
from modelyard.domain.tallies import Reading

_FRESH_SECONDS = 1.0
"""The gateway is asked once for all services that are looked at within so long."""
_MEAN_SECONDS = 10.0
"""Requests are averaged over so long."""
_USAGE_SECONDS = 30.0
"""What replicas use is averaged over so long, as it is kept in intervals of ten seconds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the gateway had counted of a service at one moment."""

    at: float
    epoch: str
    """Another one means that counting began anew."""
    requests: int
    """Answered, whatever address they came to."""
    active: int
    """Under way or waiting."""


class Gauges:
    """Asks the gateway what it counted, and remembers the last samples of each service."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._reading: Reading | None = None
        self._read_at = float("-inf")
        self._samples: dict[str, tuple[Sample, ...]] = {}

    async def look(self, deployment: Deployment, targets: Sequence[Target], *, now: float) -> Load:
        """The load of a service at this moment."""
        key = str(deployment.key)
        before = self._samples.get(key, ())
        waiting = self._platform.gateway.waiting.get(key, 0)
        if not 0 <= now - self._read_at < _FRESH_SECONDS:
            self._reading, self._read_at = await self._platform.gateway.statistics(), now
        sample = _sample(self._reading, deployment, waiting, now)
        samples = _kept(before, sample)
        self._samples[key] = samples
        same = bool(before) and sample is not None and sample.epoch == before[-1].epoch
        asked = same and sample is not None and sample.requests != before[-1].requests
        measured = any(target.metric in PER_REPLICA for target in targets)
        return Load(
            replicas=await self._replicas(deployment, now) if measured else (),
            totals=_totals(samples),
            waiting=waiting,
            busy=asked or any(sample.active for sample in samples[-1:]),
            known=bool(samples),
        )

    def forget(self, key: str) -> None:
        """The service is gone, or no longer looked at."""
        self._samples.pop(key, None)

    async def _replicas(self, deployment: Deployment, now: float) -> tuple[ReplicaLoad, ...]:
        used = await measuring.usages(
            self._platform, deployment.key, since=now - _USAGE_SECONDS, until=now + _MEAN_SECONDS
        )
        asked = Request.of(deployment.spec.resources)
        staying = [
            r for r in deployment.status.replicas if r.phase in (Phase.STARTING, Phase.READY, Phase.UNREADY)
        ]
        return tuple(_replica(r, asked, used.get(r.name)) for r in staying)


def _sample(reading: Reading | None, deployment: Deployment, waiting: int, now: float) -> Sample | None:
    if reading is None:
        return None
    key = str(deployment.key)
    counted = (t for t in reading.tallies if t.part.service == key and t.route != MIRROR)
    active = sum(reading.inflight.get(replica.name, 0) for replica in deployment.status.replicas)
    return Sample(now, reading.epoch, sum(t.requests for t in counted), active + waiting)


def _kept(before: Sequence[Sample], sample: Sample | None) -> tuple[Sample, ...]:
    """The samples of lately with the newest; none while the gateway says nothing."""
    if sample is None:
        return ()
    lately = (s for s in before if s.epoch == sample.epoch and 0 < sample.at - s.at <= _MEAN_SECONDS)
    return (*lately, sample)


def _totals(samples: Sequence[Sample]) -> dict[Metric, float]:
    """Means over the samples; a rate needs two of them."""
    if not samples:
        return {}
    first, last = samples[0], samples[-1]
    totals = {Metric.CONCURRENCY: sum(s.active for s in samples) / len(samples)}
    if last.at > first.at:
        # Of several routers one may be gone since, and what it counted with it.
        totals[Metric.QPS] = max(last.requests - first.requests, 0) / (last.at - first.at)
    return totals


def _replica(replica: Replica, asked: Request, usage: Usage | None) -> ReplicaLoad:
    load = ReplicaLoad(ready=replica.phase is Phase.READY)
    if usage is None:
        return load
    parts: dict[Metric, float] = {}
    if asked.cpu_millis:
        parts[Metric.CPU] = usage.cpu_cores * 1000 / asked.cpu_millis
    if asked.memory_bytes:
        parts[Metric.MEM] = usage.memory_bytes / asked.memory_bytes
    if usage.gpu_ratio is not None:
        parts[Metric.GPU] = usage.gpu_ratio
    return replace(load, parts=parts)
