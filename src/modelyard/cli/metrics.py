"""What a service did: requests, times and resources, as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any

import typer

from modelyard.cli import context, output
from modelyard.domain import quantity
from modelyard.domain.figures import Figures, Metrics

_MEBI = 1024**2


def metrics(
    name: Annotated[str, typer.Argument(help="NAME or NAME@STAGE")],
    since: Annotated[str, typer.Option(help="How long ago it begins, such as 1h, or a time")] = "1h",
    step: Annotated[str, typer.Option(help="Also by steps of this length, such as 1m")] = "",
    replicas: Annotated[bool, typer.Option("--replicas", help="Also what each replica used")] = False,
    json: Annotated[bool, typer.Option("--json", help="Everything, as JSON")] = False,
) -> None:
    """Requests, codes, times and resources of a service, whole and by revision."""
    with context.client() as client:
        found = client.metrics(name, since=since, step=step)
    if json:
        return output.data(found)
    if context.current().output != "table":
        return output.show(found, [])
    output.rows(
        [*_whose(found)],
        [("", attrgetter("whose")), *_under("figures", _FIGURES), *_under("figures", _ACCESS)],
    )
    _table([found.usage], _USAGE)
    if replicas:
        _table(found.replicas, _REPLICA)
    if step:
        _table([p for p in found.points if p.figures.requests or p.usage.memory_bytes], _POINT)


class _Line:
    """Figures with whose they are."""

    def __init__(self, whose: str, figures: Figures) -> None:
        self.whose = whose
        self.figures = figures


def _whose(found: Metrics) -> Iterator[_Line]:
    yield _Line("all", found.total)
    for each in found.revisions:
        yield _Line(f"revision {each.revision}" if each.revision else "no replica", each.figures)
    for route, figures in found.endpoints.items():
        yield _Line(f"via {route}", figures)
    if found.mirrored:
        yield _Line("mirrored", found.mirrored)


def _table(values: Any, columns: list[output.Column]) -> None:
    sys.stdout.write("\n")
    output.rows(values, columns)


def _under(name: str, columns: list[output.Column]) -> list[output.Column]:
    """The columns of what is in a field."""
    get = attrgetter(name)

    def reading(read: Callable[[Any], object]) -> Callable[[Any], object]:
        return lambda value: read(get(value))

    return [(title, reading(read)) for title, read in columns]


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.4g} s" if seconds >= 1 else f"{seconds * 1000:.4g} ms"


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def _codes(figures: Figures) -> str:
    """Such as `200: 17, 503: 2 (gRPC 14: 2)`; 0 reads `none`."""
    codes = ", ".join(f"{'none' if code == '0' else code}: {n}" for code, n in figures.codes.items())
    calls = ", ".join(f"{status}: {n}" for status, n in figures.calls.items())
    return f"{codes} (gRPC {calls})" if calls else codes


def _memory(size: int) -> str:
    return quantity.format_memory(round(size / _MEBI) * _MEBI)


_FIGURES: list[output.Column] = [
    ("requests", lambda f: f.requests),
    ("per second", lambda f: f.requests_per_second),
    ("errors", lambda f: f.errors),
    ("mean", lambda f: _milliseconds(f.mean_seconds)),
    ("median", lambda f: _milliseconds(f.median_seconds)),
    ("min", lambda f: _milliseconds(f.min_seconds)),
    ("max", lambda f: _milliseconds(f.max_seconds)),
    ("p99", lambda f: _milliseconds(f.p99_seconds)),
]
_ACCESS: list[output.Column] = [
    ("codes", _codes),
    ("first access", lambda f: _time(f.first_access)),
    ("last access", lambda f: _time(f.last_access)),
]
_USAGE: list[output.Column] = [
    ("cpu", lambda u: u.cpu_cores),
    ("memory", lambda u: _memory(u.memory_bytes)),
    ("gpu", lambda u: "" if u.gpu_ratio is None else f"{u.gpu_ratio:.0%}"),
    ("in flight", lambda u: u.inflight),
    ("queue", lambda u: u.queue),
]
_REPLICA: list[output.Column] = [
    ("replica", lambda r: r.replica),
    ("revision", lambda r: r.revision),
    ("requests", lambda r: r.requests),
    ("per second", lambda r: r.usage.requests_per_second),
    *_under("usage", _USAGE),
    ("memory peak", lambda r: _memory(r.memory_peak_bytes)),
]
_POINT: list[output.Column] = [
    ("at", lambda p: _time(p.at)),
    *_under("figures", _FIGURES),
    *_under("usage", _USAGE),
]
