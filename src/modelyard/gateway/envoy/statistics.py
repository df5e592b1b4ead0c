"""What Envoy counts per route, and a route's numbers out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from modelyard.gateway.base import RouteStatistics

Json = dict[str, Any]

_PREFIX = "routes"
REQUESTS = f"{_PREFIX}.requests"
DURATIONS = f"{_PREFIX}.duration"
_LOGGER = "envoy.extensions.access_loggers.stats.v3.Config"


def counting() -> Json:
    """An access logger that writes no log: it counts each route's answers and times them.

    Its numbers belong to the listener. Those of a cluster start anew with every change of its
    replicas, and their durations know only whole milliseconds.
    """
    route = {"name": "route", "value_format": "%ROUTE_NAME%"}
    code = {"name": "code", "value_format": "%RESPONSE_CODE%"}
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": f"type.googleapis.com/{_LOGGER}",
            "stat_prefix": _PREFIX,
            "counters": [{"stat": {"name": "requests", "tags": [route, code]}, "value_fixed": 1}],
            "histograms": [
                {
                    "stat": {"name": "duration", "tags": [route]},
                    "unit": "Microseconds",
                    "value_format": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
                }
            ],
        },
    }


def from_stats(
    name: str, stats: Mapping[str, int | str], quantiles: Mapping[str, Mapping[float, float]]
) -> RouteStatistics:
    """The numbers of the route `name`; `quantiles` maps histogram to percentile to microseconds.

    A request whose client left before it was answered counts as a request without a response.
    """
    prefix = f"{REQUESTS}.route.{name}.code."
    codes = {s.removeprefix(prefix): int(n) for s, n in stats.items() if s.startswith(prefix)}
    classes: Counter[str] = Counter()
    for code, count in codes.items():
        if len(code) == 3:
            classes[f"{code[0]}xx"] += count
    times = quantiles.get(f"{DURATIONS}.route.{name}", {})
    return RouteStatistics(
        name=name,
        requests=sum(codes.values()),
        responses=tuple(sorted(classes.items())),
        p50_seconds=_seconds(times, 50),
        p99_seconds=_seconds(times, 99),
        active=sum(int(n) for s, n in stats.items() if _is_active(s, name)),
    )


def _is_active(stat: str, name: str) -> bool:
    cluster = stat.removeprefix("cluster.").removesuffix(".upstream_rq_active")
    return stat.endswith(".upstream_rq_active") and cluster.partition("#")[0] == name


def _seconds(times: Mapping[float, float], percentile: float) -> float | None:
    return times[percentile] / 1_000_000 if percentile in times else None
