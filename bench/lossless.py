"""Fifty updates, fifty scalings, twenty promotions and more under constant load: what fails."""

from __future__ import annotations

import time

from bench import platform
from bench.report import Table, add, measured
from tests.support import changes

RATE = 150
CALLERS = 4
TIMES = {"rolling update": 50, "scale event": 50, "promotion": 20, "gateway reconfiguration": 50}


async def measure(rounds: int) -> list[Table]:
    """One table; with fewer than five rounds each change happens fewer times in proportion."""
    table = measured(f"Changes under {RATE} HTTP requests/s and {CALLERS} gRPC clients")
    with platform.running() as running:
        with running.client() as client:
            token = changes.publish(client)
        for name, change in changes.CHANGES.items():
            times = max(1, TIMES[name] * min(rounds, 5) // 5)
            began = time.perf_counter()
            async with changes.asked(running, token, rate=RATE, callers=CALLERS) as asked:
                await changes.happen(running, change, times)
            seconds = (time.perf_counter() - began) / times
            add(table, f"{name}, {times} times: each", [seconds], "s")
            for kind, done in (("requests", asked.http), ("calls", asked.grpc)):
                add(table, f"{name}: failed {kind}", [float(done.failed)], f"of {done.total}", most=0)
            add(table, f"{name}: p99", [asked.http.quantile(0.99) * 1e3], "ms")
    return [table]
