"""What Envoy counts of each route's requests, and its tallies out of the numbers: pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from modelyard.domain.observation import MIRROR
from modelyard.domain.tallies import Tally

Json = dict[str, Any]

PREFIX = "routes"
METADATA = "modelyard"
"""Namespace of what an endpoint's metadata says about its replica."""
REVISION = "revision"

_LOGGER = "envoy.extensions.access_loggers.stats.v3.Config"
_DURATION = "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%"
_TAGS = {
    "route": "%ROUTE_NAME%",
    "share": "%UPSTREAM_CLUSTER%",
    "revision": f"%METADATA(UPSTREAM_HOST:{METADATA}:{REVISION})%",
    "replica": "%UPSTREAM_HOST_NAME%",
    "code": "%RESPONSE_CODE%",
    "call": "%GRPC_STATUS_NUMBER%",
}
_PART = ("route", "share", "revision")
_ANSWER = (*_PART, "replica", "code", "call")


def counting() -> Json:
    """An access logger that writes no log: it counts answers and their times.

    Its numbers belong to no cluster: those of a cluster start anew with every change of its replicas, and
    their durations know only whole milliseconds. What was not counted for an hour is forgotten, so that
    replicas that are gone do not fill Envoy's memory.
    """
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": f"type.googleapis.com/{_LOGGER}",
            "stats_scope": {"prefix": PREFIX, "enable_eviction": True},
            "counters": [
                {"stat": _stat("requests", _ANSWER), "value_fixed": 1},
                {"stat": _stat("microseconds", _PART), "value_format": _DURATION},
            ],
            "histograms": [
                {"stat": _stat("duration", _PART), "unit": "Microseconds", "value_format": _DURATION}
            ],
        },
    }


def tallies(counters: Mapping[str, int | str], bins: Mapping[str, Mapping[int, int]]) -> tuple[Tally, ...]:
    """Tallies from Envoy's counters and histograms by name, sorted by their own names."""
    found: defaultdict[tuple[str, ...], _Sums] = defaultdict(_Sums)
    for name, value in counters.items():
        if answer := _ANSWERS.fullmatch(name):
            found[answer.group(*_PART)].add(answer, int(value))
        elif spent := _SPENT.fullmatch(name):
            found[spent.group(*_PART)].microseconds = int(value)
    for name, times in bins.items():
        if timed := _TIMED.fullmatch(name):
            found[timed.group(*_PART)].times = times
    services = (sums.tally(*part) for part, sums in found.items() if "/" in part[0] or part[0] == MIRROR)
    return tuple(sorted(services, key=lambda tally: tally.name))


class _Sums:
    """Numbers of one part in the making."""

    def __init__(self) -> None:
        self.codes: defaultdict[int, int] = defaultdict(int)
        self.calls: defaultdict[int, int] = defaultdict(int)
        self.replicas: defaultdict[str, int] = defaultdict(int)
        self.microseconds = 0
        self.times: Mapping[int, int] = {}

    def add(self, answer: re.Match[str], count: int) -> None:
        """Count answers of one kind."""
        if answer["call"]:
            self.calls[int(answer["call"])] += count
        else:
            self.codes[int(answer["code"] or 0)] += count
        if answer["replica"]:
            self.replicas[answer["replica"]] += count

    def tally(self, route: str, share: str, revision: str) -> Tally:
        """What they are together."""
        return Tally(
            route=route,
            share=share,
            revision=int(revision or 0),
            codes=dict(self.codes),
            calls=dict(self.calls),
            microseconds=self.microseconds,
            times=self.times,
            replicas=dict(self.replicas),
        )


def _stat(name: str, tags: tuple[str, ...]) -> Json:
    return {"name": name, "tags": [{"name": tag, "value_format": _TAGS[tag]} for tag in tags]}


def _pattern(name: str, tags: tuple[str, ...]) -> re.Pattern[str]:
    """Of a stat's whole name; only replicas' names may have dots."""
    values = "".join(rf"\.{tag}\.(?P<{tag}>{'.*' if tag == 'replica' else '[^.]*'})" for tag in tags)
    return re.compile(rf"{PREFIX}\.{name}{values}")


_ANSWERS = _pattern("requests", _ANSWER)
_SPENT = _pattern("microseconds", _PART)
_TIMED = _pattern("duration", _PART)
