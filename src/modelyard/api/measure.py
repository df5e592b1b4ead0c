"""The metrics of the platform and of everything that it runs, in seconds and bytes."""

from __future__ import annotations

import asyncio
from collections import Counter as Count
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from modelyard.control import division, scraping
from modelyard.control.carried import Carried
from modelyard.control.platform import Platform
from modelyard.domain import exposition, scaling

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FRESH_SECONDS = 1.0


class Measure:
    """Counts what the control plane does."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._seen: dict[str, int] = {}
        ProcessCollector(registry=self._registry)
        self._count_work()
        self._count_services()
        self._count_cluster()

    def _count_work(self) -> None:
        """What the control plane itself does."""
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
        self._carried = Counter(
            "modelyard_artifact_bytes",
            "Bytes of models' files that went to pods, and of results that came from tasks.",
            ("direction",),
            registry=self._registry,
        )
        self._damaged = Counter(
            "modelyard_artifact_damaged",
            "Files that were found damaged while they were sent to a pod.",
            registry=self._registry,
        )

    def _count_services(self) -> None:
        """What it runs."""
        self._replicas = Gauge(
            "modelyard_replicas", "Replicas by what they do.", ("state",), registry=self._registry
        )
        self._gateway = Gauge("modelyard_gateway_up", "Whether the gateway answers.", registry=self._registry)
        self._routers = Gauge(
            "modelyard_router_up",
            "Whether a router works by what was published last.",
            ("router",),
            registry=self._registry,
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

    def _count_cluster(self) -> None:
        """What is asked of a cluster."""
        self._cluster = Histogram(
            "modelyard_cluster_request_duration_seconds",
            "Requests to the Kubernetes API by verb, kind and status; `none` for no answer.",
            ("verb", "kind", "code"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._stale = Gauge(
            "modelyard_cluster_stale_seconds",
            "For how long nothing is heard of a kind of the cluster's objects; 0 while they are followed.",
            ("kind",),
            registry=self._registry,
        )

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def reconciled(self, kind: str, outcome: str, seconds: float) -> None:
        """Count one reconcile."""
        self._reconciles.labels(kind, outcome).observe(seconds)

    def cluster_called(self, verb: str, kind: str, code: str, seconds: float) -> None:
        """Count one try of a request to the Kubernetes API."""
        self._cluster.labels(verb, kind, code).observe(seconds)

    def cluster_follows(self, what: str, stale_seconds: Callable[[], float]) -> None:
        """Ask for how long a kind was not heard of, whenever metrics are read."""
        self._stale.labels(what).set_function(stale_seconds)

    def exposition(self, platform: Platform) -> Callable[[], Awaitable[tuple[bytes, str]]]:
        """The text that Prometheus reads, of the platform and of everything that it runs, as of now.

        Whoever asks again within a second, or while it is made, gets the same one.
        """
        turn = asyncio.Lock()
        made: list[tuple[float, bytes]] = []

        async def text() -> tuple[bytes, str]:
            async with turn:
                if not made or not 0 <= platform.clock() - made[0][0] < _FRESH_SECONDS:
                    made[:] = [(platform.clock(), await self._text(platform))]
                return made[0][1], CONTENT_TYPE

        return text

    def _count_artifacts(self, carried: Carried) -> None:
        """What was carried since the last look."""
        for direction, total in (("sent", carried.sent_bytes), ("stored", carried.stored_bytes)):
            self._carried.labels(direction).inc(total - self._seen.get(direction, 0))
            self._seen[direction] = total
        self._damaged.inc(carried.damaged - self._seen.get("damaged", 0))
        self._seen["damaged"] = carried.damaged

    async def _text(self, platform: Platform) -> bytes:
        self._count_artifacts(platform.carried)
        known = await scraping.known(platform)
        phases = Count(replica.phase.value for each in known for replica in each.status.replicas)
        self._replicas.clear()
        self._desired.clear()
        for each in known:
            self._desired.labels(each.project, each.key.service).set(scaling.wanted(each))
        for phase, count in phases.items():
            self._replicas.labels(phase).set(count)
        async with platform.database.read() as tx:
            divided = await division.everywhere(platform, tx, known)
        self._weights.clear()
        for key, part in divided:
            self._weights.labels(key.project, key.service, str(part.ref)).set(part.weight)
        reading = await platform.gateway.statistics()
        self._gateway.set(reading is not None)
        self._routers.clear()
        for router, trouble in platform.gateway.members().items():
            self._routers.labels(router).set(not trouble)
        counted = exposition.of_gateway(reading) if reading is not None else ""
        own = generate_latest(self._registry).decode() + counted
        targets = await scraping.scrape(known)
        # Of many replicas these are megabytes, which others need not wait for.
        return (await asyncio.to_thread(exposition.merged, targets, own=own)).encode()
