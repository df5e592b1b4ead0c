"""Fifty updates, fifty scalings, twenty promotions, takeovers and more under constant load: what fails."""

from __future__ import annotations

import time

from bench import platform
from bench.report import Table, add, measured
from tests.support import changes
from tests.support.platform import Running, free_port

RATE = 150
CALLERS = 4
TIMES = {
    "rolling update": 50,
    "scale event": 50,
    "promotion": 20,
    "gateway reconfiguration": 50,
    "host takeover": 20,
    "certificate swap": 20,
}


async def measure(rounds: int) -> list[Table]:
    """One table; with fewer than five rounds each change happens fewer times in proportion."""
    table = measured(f"Changes under {RATE} HTTP requests/s and {CALLERS} gRPC clients")
    with platform.running("--https-port", str(free_port())) as running:
        with running.client() as client:
            service = changes.at_the_service(running, changes.publish(client), rate=RATE)
        await _all(running, table, service, changes.CHANGES, rounds)
        with running.client() as client:
            host = changes.at_the_host(client, changes.rivals(client), rate=RATE)
        await _all(running, table, host, changes.AT_A_HOST, rounds)
    table.notes = "Takeovers and certificates: over TLS, at the host that two services want."
    return [table]


async def _all(
    running: Running, table: Table, target: changes.Target, kinds: dict[str, changes.Change], rounds: int
) -> None:
    for name, change in kinds.items():
        times, began = _times(name, rounds), time.perf_counter()
        async with changes.asked(target, callers=CALLERS) as asked:
            await changes.happen(running, change, times)
        add(table, f"{name}, {times} times: each", [(time.perf_counter() - began) / times], "s")
        for kind, done in (("requests", asked.http), ("calls", asked.grpc)):
            add(table, f"{name}: failed {kind}", [float(done.failed)], f"of {done.total}", most=0)
        add(table, f"{name}: p99", [asked.http.quantile(0.99) * 1e3], "ms")


def _times(name: str, rounds: int) -> int:
    return max(1, TIMES[name] * min(rounds, 5) // 5)
