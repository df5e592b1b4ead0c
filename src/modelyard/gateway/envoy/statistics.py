"""A route's numbers out of Envoy's."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.gateway.base import RouteStatistics

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


def from_stats(
    name: str, counters: Mapping[str, int | str], quantiles: Mapping[str, Mapping[float, float]]
) -> RouteStatistics:
    """The numbers of the route `name`; `quantiles` maps histogram to percentile to milliseconds."""
    prefix = f"cluster.{name}"
    counted = ((c, int(counters.get(f"{prefix}.upstream_rq_{c}", 0))) for c in _CLASSES)
    responses = tuple((c, count) for c, count in counted if count)
    times = quantiles.get(f"{prefix}.upstream_rq_time", {})
    return RouteStatistics(
        name=name,
        requests=sum(count for _, count in responses),
        responses=responses,
        p50_seconds=_seconds(times, 50),
        p99_seconds=_seconds(times, 99),
        active=int(counters.get(f"{prefix}.upstream_rq_active", 0)),
    )


def _seconds(times: Mapping[float, float], percentile: float) -> float | None:
    return times[percentile] / 1000 if percentile in times else None
