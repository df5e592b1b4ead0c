"""The control plane's own metrics, in seconds and bytes."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

from modelyard.control import division
from modelyard.control.platform import Platform
from modelyard.domain import scaling
from modelyard.store import deployments

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Measure:
    """Counts what the control plane does."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            "modelyard_api_request_duration_seconds",
            "Requests to the control plane's API.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._reconciles = Histogram(
            "modelyard_reconcile_duration_seconds",
            "Reconciles by kind and outcome.",
            ("kind", "outcome"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._replicas = Gauge(
            "modelyard_replicas", "Replicas by what they do.", ("state",), registry=self._registry
        )

        self._desired = Gauge(
            "modelyard_replicas_desired",
            "Replicas that a service should have now.",
            ("project", "service"),
            registry=self._registry,
        )
        self._weights = Gauge(
            "modelyard_traffic_weight",
            "Percent of a service's requests that go to a deployment or to one revision of it.",
            ("project", "service", "to"),
            registry=self._registry,
        )

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def reconciled(self, kind: str, outcome: str, seconds: float) -> None:
        """Count one reconcile."""
        self._reconciles.labels(kind, outcome).observe(seconds)

    def exposition(self, platform: Platform) -> Callable[[], Awaitable[tuple[bytes, str]]]:
        """The text that Prometheus reads, with gauges as of now."""

        async def text() -> tuple[bytes, str]:
            async with platform.database.read() as tx:
                known = await deployments.all(tx)
                divided = await division.everywhere(platform, tx, known)
            phases = Count(replica.phase.value for each in known for replica in each.status.replicas)
            self._replicas.clear()
            self._desired.clear()
            for each in known:
                self._desired.labels(each.project, each.key.service).set(scaling.wanted(each))
            for phase, count in phases.items():
                self._replicas.labels(phase).set(count)
            self._weights.clear()
            for key, part in divided:
                self._weights.labels(key.project, key.service, str(part.ref)).set(part.weight)
            return generate_latest(self._registry), CONTENT_TYPE_LATEST

        return text
