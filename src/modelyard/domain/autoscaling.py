"""What a user says about how many replicas there should be: by load, by the clock, down to none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import timetable, wire
from modelyard.domain.errors import FieldError, Invalid

PATH = "spec.autoscaling"
MOST_REPLICAS = timetable.MOST_REPLICAS


class Metric(StrEnum):
    """What the number of replicas can follow."""

    CPU = "cpu"
    """Percent of the cores that a replica asks for."""
    MEM = "mem"
    """Percent of the memory that a replica asks for."""
    GPU = "gpu"
    """Percent of the time in which a replica's GPUs compute."""
    CONCURRENCY = "concurrency"
    """Requests in flight, for each replica."""
    QPS = "qps"
    """Requests a second, for each replica."""


class Scaler(StrEnum):
    """Who reckons how many replicas load calls for."""

    AUTO = "auto"
    """The cluster, of what it measures itself (`cpu`, `mem`, `gpu`); else the platform."""
    PLATFORM = "platform"
    CLUSTER = "cluster"
    """Of everything that it can be made to measure; the platform where it cannot."""


PER_REPLICA = (Metric.CPU, Metric.MEM, Metric.GPU)
"""Measured at every replica, as a part of what it has; the others are measured at the gateway."""
_MOST_PERCENT = {Metric.CPU: 1000, Metric.MEM: 100, Metric.GPU: 100}
_PERCENT = re.compile(r"%?(\d{1,4})%?")
_NUMBER = re.compile(r"\d{1,6}(\.\d{1,3})?")
_SPELLINGS = {"memory": "mem"}
_EXAMPLE = "cpu:50%,mem:50%,gpu:50%,concurrency:8,qps:100"


@dataclass(frozen=True, slots=True)
class Target:
    """How much of something each replica should have."""

    metric: Metric
    value: float
    """A ratio such as 0.5 for percents."""

    def __str__(self) -> str:
        return f"{self.metric}:{said(self.metric, self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """Bounds and rules for the number of replicas; equal bounds and no times leave it to `replicas`."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    min: int = 1
    """Never fewer; 0 lets the service sleep while nobody asks it."""
    max: int = 1
    """Never more."""
    on: str = ""
    """What the number follows, such as `cpu:50%,concurrency:8`: the metric that asks for most counts."""
    by: Scaler = Scaler.AUTO
    """Who follows it: on Kubernetes an autoscaler of the cluster may; everywhere else the platform does."""
    cron: str = ""
    """Hours of the day and their number of replicas, `9~21:3,21~9:0`; they count before everything else."""
    time_zone: str = ""
    """Of the hours, such as `Asia/Shanghai`; empty is the platform's."""
    idle_seconds: float = 300.0
    """A service whose `min` is 0 sleeps after so long without a request."""
    up_seconds: float = 0.0
    """More replicas come only when they were called for during all of so long."""
    down_seconds: float = 300.0
    """Fewer replicas come only when so long nothing called for more."""
    hold_requests: int = 100
    """Requests that may wait while a sleeping service wakes; others are turned away with 503."""
    hold_seconds: float = 60.0
    """How long each of them may wait."""

    def __post_init__(self) -> None:
        wrong = list(self._wrong())
        if wrong:
            raise Invalid("; ".join(f"{e.path}: {e.message}" for e in wrong), errors=wrong)
        targets(self.on)
        timetable.parse(self.cron, f"{PATH}.cron")

    def _wrong(self) -> Iterator[FieldError]:
        for name, value, low, high in (
            ("min", self.min, 0, MOST_REPLICAS),
            ("max", self.max, 1, MOST_REPLICAS),
            ("idle_seconds", self.idle_seconds, 1, 86_400),
            ("up_seconds", self.up_seconds, 0, 3600),
            ("down_seconds", self.down_seconds, 0, 3600),
            ("hold_requests", self.hold_requests, 0, 10_000),
            ("hold_seconds", self.hold_seconds, 1, 3600),
        ):
            if not low <= value <= high:
                yield FieldError(f"{PATH}.{name}", f"must be between {low} and {high}, got {value:g}")
        if self.min > self.max:
            yield FieldError(f"{PATH}.min", f"must not be above max, got {self.min} and {self.max}")
        if self.max > max(self.min, 1) and not self.on.strip():
            message = f"says what the number of replicas follows, such as {_EXAMPLE}"
            yield FieldError(f"{PATH}.on", message)

    @property
    def by_load(self) -> bool:
        """Whether load decides at all: only bounds that differ leave something to decide."""
        return self.min != self.max

    @property
    def declared(self) -> bool:
        """Whether anything but `replicas` decides."""
        return self.by_load or bool(self.cron.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingStatus:
    """What was decided about the number of replicas, and why."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    desired: int = -1
    """By load or clock; -1 while nothing was decided and `replicas` counts."""
    reason: str = ""
    """`Load`, `Cluster`, `ClusterUnsure`, `Idle`, `Woken`, `Clock` or `Replicas`."""
    message: str = ""
    """Such as `concurrency 22 of 8 per replica`."""
    granted: int = -1
    """How many it may have while capacity is short; -1 while it is not."""
    allowed: int = -1
    """How many the project's quota leaves it; -1 while it has what it wants."""
    quota: str = ""
    """Why the quota leaves it no more."""


def targets(text: str, path: str = f"{PATH}.on") -> tuple[Target, ...]:
    """What the number of replicas follows; raises Invalid with the field and the remedy."""
    found: dict[Metric, Target] = {}
    for part in text.split(",") if text.strip() else ():
        target = _target(part.strip(), path)
        if target.metric in found:
            raise _wrong(path, f"{target.metric} is there twice; say it once")
        found[target.metric] = target
    return tuple(found.values())


def require_measurable(scaling: Autoscaling, *, cpu_millis: int, memory_bytes: int, gpus: int) -> None:
    """Raise Invalid for a percentage of something that a replica does not ask for."""
    asked = {Metric.CPU: cpu_millis, Metric.MEM: memory_bytes, Metric.GPU: gpus}
    fields = {Metric.CPU: "cpu", Metric.MEM: "memory", Metric.GPU: "gpu"}
    for target in targets(scaling.on):
        if not asked.get(target.metric, 1):
            field = fields[target.metric]
            message = f"{target} is a part of resources.{field}, which is 0; set it, or scale on concurrency"
            raise _wrong(f"{PATH}.on", message)


def said(metric: Metric, value: float) -> str:
    """A value of the metric in words: `50%`, `8`."""
    return f"{value * 100:.0f}%" if metric in PER_REPLICA else f"{value:.4g}"


def _target(text: str, path: str) -> Target:
    name, _, value = (part.strip() for part in text.partition(":"))
    try:
        metric = Metric(_SPELLINGS.get(name.lower(), name.lower()))
    except ValueError:
        known = ", ".join(Metric)
        raise _wrong(path, f"{name[:40]!a} is not a metric; there are {known}, as in {_EXAMPLE}") from None
    if metric in PER_REPLICA:
        found, most = _PERCENT.fullmatch(value), _MOST_PERCENT[metric]
        # `%50` is a typing mistake that is in wide use; a bare number could as well be cores or bytes.
        if found is None or value.count("%") != 1 or not 1 <= int(found[1]) <= most:
            raise _wrong(path, f"{text[:60]!a}: write a percentage from 1 to {most}, as {metric}:50%")
        return Target(metric, int(found[1]) / 100)
    if not _NUMBER.fullmatch(value) or not float(value):
        raise _wrong(path, f"{text[:60]!a}: write a number above 0 for each replica, as {metric}:8")
    return Target(metric, float(value))


def _wrong(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
