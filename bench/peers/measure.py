"""The comparison: every server on the same models, in turns within a round, so that ratios hold."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import http
from bench.peers import running
from bench.peers.environments import HOME, interpreter
from bench.peers.running import Started
from bench.peers.servers import FLOOR, INSIDE, LIMIT, OTHER, OURS, SERVERS, Server
from bench.peers.workloads import WORKLOADS, Workload
from bench.report import Table

_SECONDS = 2.0
_CALM_ROUNDS = 5
_COLUMNS = (
    "server", "req/s", "lowest to highest", "x floor", "x best peer", "p50 ms", "p99 ms", "CPU µs/request",
    "errors", "p99/p50 at half load", "ms at 1 req/s", "ready s", "PSS MiB",
)  # fmt: skip
Share = float


@dataclass(slots=True)
class Found:
    """What was measured of one server."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    """Of one core, taken by the load generator."""
    errors: int = 0
    calm_ms: list[float] = field(default_factory=list)
    half: http.Flood | None = None
    ready_seconds: float = 0.0
    pss_mib: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second, median."""
        return statistics.median(self.rates) if self.rates else 0.0


async def measure(rounds: int, narrowed: str = "") -> list[Table]:
    """A table for each workload and one over all; `narrowed` is `WORKLOAD,…` or `WORKLOAD,…@SERVER,…`."""
    works, _, names = narrowed.partition("@")
    chosen = [_known(WORKLOADS, name) for name in works.split(",") if name] or list(WORKLOADS.values())
    everybody = [server for name, server in SERVERS.items() if name != "other"]
    servers = [_known(SERVERS, name) for name in names.split(",") if name] or everybody
    tables = []
    for work in chosen:
        # In a thread of its own, where a load generator of ours may have an event loop.
        tables.append(await asyncio.to_thread(_compared, work, servers, rounds))
        print(tables[-1].markdown(), end="\n\n", file=sys.stderr)
    return [*tables, *over_all(tables)] if len(tables) > 1 else tables


def models() -> Path:
    """The directory of the shared models, which are made when they are not there."""
    directory = HOME / "models" / "made"
    if not (directory / "done").is_file():
        python = interpreter("models")
        subprocess.run([str(python), str(INSIDE / "train.py"), str(directory)], check=True)
    return directory


def _known(choices: dict[str, object], name: str) -> object:
    if name not in choices:
        raise SystemExit(f"{name} is not known here; there are {', '.join(choices)}")
    return choices[name]


def _compared(work: Workload, servers: Sequence[Server], rounds: int) -> Table:
    absent: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        up: list[Started] = []
        for server in servers:
            if work.binary and not server.binary:
                continue
            print(f"{work.name}: starting {server.label} …", file=sys.stderr)
            try:
                up.append(stack.enter_context(running.started(server, work, models())))
            except (RuntimeError, subprocess.CalledProcessError) as error:
                absent[server.label] = str(error)
        found = _flooded(work, up, rounds)
    return _table(work, found, absent)


def _flooded(work: Workload, up: Sequence[Started], rounds: int) -> dict[str, Found]:
    found = {each.server.label: Found(ready_seconds=each.ready_seconds) for each in up}
    for each in up:
        http.flood(each.question, connections=4, seconds=1.0)
    for _ in range(rounds):
        for each in random.sample(up, len(up)):
            _round(work, each, found[each.server.label])
    for each in up:
        # Connections that pause at random, so long that together they ask half as much as was answered.
        rate = found[each.server.label].rate
        pause = max(0.0, 2e3 * work.connections / rate - 1e3 / rate) if rate else 0.0
        found[each.server.label].half = http.flood(
            each.question, connections=work.connections, seconds=_SECONDS, pause_ms=max(pause, 1.0)
        )
    for _ in range(_CALM_ROUNDS):
        began = time.monotonic()
        for each in up:
            status, _, seconds = running.ask(each.question)
            found[each.server.label].errors += status != 200
            found[each.server.label].calm_ms.append(seconds * 1e3)
        time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))
    for each in up:
        found[each.server.label].pss_mib = each.pss()
    return found


def _round(work: Workload, each: Started, found: Found) -> None:
    before = each.cpu()
    flood = http.flood(each.question, connections=work.connections, seconds=_SECONDS)
    spent = each.cpu() - before
    answered = max(flood.requests, 1)
    found.rates.append((flood.requests - flood.failed) / _SECONDS)
    found.p50_ms.append(flood.p50_seconds * 1e3)
    found.p99_ms.append(flood.p99_seconds * 1e3)
    found.cpu_us.append(spent / answered * 1e6)
    found.shares.append(flood.generator_cpu_seconds / _SECONDS)
    found.errors += flood.failed


def _table(work: Workload, found: dict[str, Found], absent: dict[str, str]) -> Table:
    table = Table(f"Peers: {work.title}, c={work.connections}, load by {http.tool()}", _COLUMNS)
    floor = found.get(FLOOR)
    best = max(
        (f.rate for label, f in found.items() if label not in (OURS, OTHER, FLOOR, LIMIT)), default=0.0
    )
    for label, each in sorted(found.items(), key=lambda item: -item[1].rate):
        ratio = _ratio(each, floor)
        table.rows.append((label, *_cells(each, ratio, each.rate / best if best else None)))
        table.numbers[label] = {
            "per_second": each.rates, "x_floor": ratio, "p50_ms": each.p50_ms, "p99_ms": each.p99_ms,
            "cpu_us": each.cpu_us, "generator_share": each.shares, "errors": each.errors,
            "calm_ms": each.calm_ms, "ready_seconds": each.ready_seconds, "pss_mib": each.pss_mib,
            "half_load": None if each.half is None else
                {"per_second": each.half.per_second, "p50_ms": each.half.p50_seconds * 1e3,
                 "p99_ms": each.half.p99_seconds * 1e3},
        }  # fmt: skip
    shares = [share for each in found.values() for share in each.shares]
    table.notes = (
        f"The load generator took {min(shares, default=0):.0%} to {max(shares, default=0):.0%} of a core."
    )
    for label, reason in absent.items():
        table.numbers[label] = {"absent": reason}
        table.notes += f" {label} did not start: {reason}"
    return table


def _ratio(each: Found, floor: Found | None) -> float | None:
    if floor is None or not floor.rate:
        return None
    return statistics.median(a / b for a, b in zip(each.rates, floor.rates, strict=True) if b)


def _cells(each: Found, ratio: float | None, best: float | None) -> Sequence[str]:
    half = each.half
    return (
        f"{each.rate:.0f}",
        f"{min(each.rates):.0f} to {max(each.rates):.0f}",
        *("" if number is None else f"{number:.2f}" for number in (ratio, best)),
        f"{statistics.median(each.p50_ms):.2f}",
        f"{statistics.median(each.p99_ms):.1f}",
        f"{statistics.median(each.cpu_us):.0f}",
        str(each.errors),
        f"{half.p99_seconds / half.p50_seconds:.1f}" if half and half.p50_seconds else "",
        f"{statistics.median(each.calm_ms):.2f}",
        f"{each.ready_seconds:.1f}",
        f"{each.pss_mib:.0f}",
    )


def over_all(tables: Sequence[Table]) -> list[Table]:
    """One table for each quantity: a row for each workload, a column for each server that was measured."""
    labels = [server.label for server in SERVERS.values()]
    present = [label for label in labels if any("per_second" in t.numbers.get(label, {}) for t in tables)]
    made = []
    for title, cell in _QUANTITIES.items():
        whole = Table(f"Peers: {title}", ("workload", *present))
        for table in tables:
            name = table.title.removeprefix("Peers: ").partition(", load by")[0]
            numbers = [table.numbers.get(label, {}) for label in present]
            whole.rows.append((name, *(cell(each) if each.get("per_second") else "–" for each in numbers)))
        made.append(whole)
    return made


def _rate(numbers: dict[str, Any]) -> str:
    shown = f"{statistics.median(numbers['per_second']):.0f}"
    errors = f", {numbers['errors']} failed" if numbers["errors"] else ""
    return shown if numbers["x_floor"] is None else f"{shown} ({numbers['x_floor']:.2f}{errors})"


def _tail(numbers: dict[str, Any]) -> str:
    half = numbers["half_load"]
    return f"{half['p99_ms'] / half['p50_ms']:.1f}" if half and half["p50_ms"] else "–"


_QUANTITIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "requests/s (x floor)": _rate,
    "processor time, µs/request": lambda numbers: f"{statistics.median(numbers['cpu_us']):.0f}",
    "p99/p50 at half load": _tail,
    "latency at one request a second, ms": lambda numbers: f"{statistics.median(numbers['calm_ms']):.1f}",
    "start until the first answer, s": lambda numbers: f"{numbers['ready_seconds']:.1f}",
    "memory after load (PSS), MiB": lambda numbers: f"{numbers['pss_mib']:.0f}",
}
