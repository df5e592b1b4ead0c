"""What pods use, from the cluster's metrics API; where there is none, from what fronts say of themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.backends import reports
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import POD_METRICS, Manifest, place
from modelyard.domain.errors import ModelyardError, NotFound
from modelyard.domain.tallies import Sample

PERIOD_SECONDS = 15.0
"""Metrics are not newer than this, so they are not asked for more often."""
_ABSENT_SECONDS = 300.0
"""How long nobody looks again whether there is a metrics API."""
_PATIENCE_SECONDS = 5.0
"""A metrics server that hangs must not hold up everything else that is measured."""
_STALE_SECONDS = 90.0
_CORES = {"n": 1e-9, "u": 1e-6, "m": 1e-3}
_BYTES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, slots=True)
class Use:
    """What the containers of a pod use together."""

    cores: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a sample is of."""

    service: str
    replica: str
    revision: int
    started_at: float


@dataclass(slots=True)
class _Spent:
    seconds: float
    at: float


class Usage:
    """Asks for the metrics of all our pods at once, and adds up what they spent."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: Mapping[tuple[str, str], Use] = {}
        self._asked_at = self._heard_at = float("-inf")
        self._absent = False
        self._spent: dict[str, _Spent] = {}

    async def read(self) -> Mapping[tuple[str, str], Use]:
        """By namespace and name of the pod; nothing while the cluster does not tell."""
        now = self._clock()
        if not 0 <= now - self._asked_at < (_ABSENT_SECONDS if self._absent else PERIOD_SECONDS):
            self._asked_at, self._absent = now, False
            labels = f"{names.MANAGED_BY}={names.MANAGER}"
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    listing = await self._cluster.list(POD_METRICS, labels=labels)
                self._known, self._heard_at = {place(each): use_of(each) for each in listing.items}, now
            except NotFound:
                self._absent = True
            except (ModelyardError, TimeoutError):
                pass  # what was true a moment ago is better than nothing
        return self._known if 0 <= now - self._heard_at < _STALE_SECONDS else {}

    def spent(self, pod: str, use: Use) -> float:
        """The processor seconds that a pod has used since it was first looked at, by its uid."""
        now = self._clock()
        before = self._spent.get(pod)
        passed = min(max(now - before.at, 0.0), _STALE_SECONDS) if before else 0.0
        seconds = (before.seconds if before else 0.0) + use.cores * passed
        self._spent[pod] = _Spent(seconds, now)
        return seconds

    def forget(self, alive: frozenset[str]) -> None:
        """Drop what is known of pods that are gone."""
        self._spent = {pod: spent for pod, spent in self._spent.items() if pod in alive}


def use_of(metrics: Manifest) -> Use:
    """One pod's metrics; what cannot be read counts as nothing."""
    usages: list[Mapping[str, Any]] = [each.get("usage") or {} for each in metrics.get("containers") or ()]
    return Use(
        cores=sum(_amount(usage.get("cpu"), _CORES) for usage in usages),
        memory_bytes=round(sum(_amount(usage.get("memory"), _BYTES) for usage in usages)),
    )


def sample(of: Subject, state: Mapping[str, Any], use: Use | None, spent: Mapping[str, float]) -> Sample:
    """What a replica was doing, from what its front and the metrics say."""
    return Sample(
        service=of.service,
        replica=of.replica,
        revision=of.revision,
        started_at=of.started_at,
        cpu_seconds=spent,
        memory_bytes=use.memory_bytes if use is not None else reports.count(state, "memory_bytes"),
        inflight=reports.count(state, "inflight"),
        queue=reports.count(state, "queue"),
    )


def _amount(text: object, units: Mapping[str, float]) -> float:
    said = str(text or "0")
    suffix = next((each for each in units if said.endswith(each)), "")
    with contextlib.suppress(ValueError):
        return float(said.removesuffix(suffix)) * units.get(suffix, 1.0)
    return 0.0
