"""What a service is asked and what its replicas use, as the autoscaler wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modelyard.control import measuring
from modelyard.control.platform import Platform
from modelyard.domain.autoscaling import PER_REPLICA, Metric, Target
from modelyard.domain.deployment import Deployment, Key, Phase, Replica
from modelyard.domain.following import Load, ReplicaLoad
from modelyard.domain.observation import Usage
from modelyard.domain.placement import Request
from modelyard.gateway.base import RouteStatistics

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
    requests: int
    active: int


class Gauges:
    """Asks the gateway what it counted, and remembers the last samples of each service."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._counted: Mapping[str, RouteStatistics] = {}
        self._counted_at = float("-inf")
        self._samples: dict[str, tuple[Sample, ...]] = {}

    async def look(self, deployment: Deployment, targets: Sequence[Target], *, now: float) -> Load:
        """The load of a service at this moment."""
        key = deployment.key
        before = self._samples.get(str(key), ())
        samples = await self._sampled(key, before, now)
        self._samples[str(key)] = samples
        busy = bool(before) and bool(samples) and samples[-1].requests != before[-1].requests
        if deployment.spec.autoscaling.min == 0 and before:
            # Requests that came through another endpoint are counted there.
            lately = await measuring.window(self._platform, key, since=now - _USAGE_SECONDS, until=now + 1)
            busy = busy or lately.last_at >= before[-1].at
        measured = any(target.metric in PER_REPLICA for target in targets)
        return Load(
            replicas=await self._replicas(deployment, now) if measured else (),
            totals=_totals(samples),
            waiting=self._platform.gateway.waiting.get(str(key), 0),
            busy=busy or any(sample.active for sample in samples[-1:]),
            known=bool(samples),
        )

    def forget(self, key: str) -> None:
        """The service is gone, or no longer looked at."""
        self._samples.pop(key, None)

    async def _sampled(self, key: Key, before: Sequence[Sample], now: float) -> tuple[Sample, ...]:
        if not 0 <= now - self._counted_at < _FRESH_SECONDS:
            self._counted = {each.name: each for each in await self._platform.gateway.statistics()}
            self._counted_at = now
        counted = self._counted.get(str(key))
        if counted is None:
            return ()
        sample = Sample(now, counted.requests, counted.active)
        # A gateway that was started anew counts from nothing, and a clock may be set back.
        kept = [s for s in before if s.requests <= sample.requests and 0 < now - s.at <= _MEAN_SECONDS]
        return (*kept, sample)

    async def _replicas(self, deployment: Deployment, now: float) -> tuple[ReplicaLoad, ...]:
        used = await measuring.usages(
            self._platform, deployment.key, since=now - _USAGE_SECONDS, until=now + _MEAN_SECONDS
        )
        asked = Request.of(deployment.spec.resources)
        staying = [
            r for r in deployment.status.replicas if r.phase in (Phase.STARTING, Phase.READY, Phase.UNREADY)
        ]
        return tuple(_replica(r, asked, used.get(r.name)) for r in staying)


def _totals(samples: Sequence[Sample]) -> dict[Metric, float]:
    """Means over the samples; a rate needs two of them."""
    if not samples:
        return {}
    first, last = samples[0], samples[-1]
    totals = {Metric.CONCURRENCY: sum(s.active for s in samples) / len(samples)}
    if last.at > first.at:
        totals[Metric.QPS] = (last.requests - first.requests) / (last.at - first.at)
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
