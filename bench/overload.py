"""What a replica does with twice the requests that its model can answer."""

from __future__ import annotations

import asyncio
import statistics
import time

import psutil

from bench import processes
from bench.report import Table, add, measured
from tests.serving.replicas import Replica, infer_body, replica
from tests.support.load import _exchange as exchange

SLOW = """
import time
def predict(inputs):
    time.sleep(0.01)
    return {"output": inputs["input"]}
"""
SECONDS = 8.0
DEADLINE = 0.5
CONNECTIONS = 256


async def measure(rounds: int) -> list[Table]:
    """Goodput, times and memory at twice the capacity; clients send at a rate, whatever comes back."""
    table = measured("Twice the requests that the model can answer (10 ms each, deadline 0.5 s)")
    taken: dict[str, list[float]] = {}
    for _ in range(max(2, rounds // 2)):
        with replica(code=SLOW, limits={"batch": {"mode": "off"}, "queue": 256}) as running:
            capacity = await _good(running, rate=400.0, seconds=3.0)
            before = processes.rss(psutil.Process(running.process.pid))
            latencies = await _sent(running, rate=2 * capacity, seconds=SECONDS)
            after = processes.rss(psutil.Process(running.process.pid))
        good = [latency for latency in latencies if latency <= DEADLINE]
        taken.setdefault("answered in time, share of capacity", []).append(len(good) / SECONDS / capacity)
        taken.setdefault("p99 of the answered", []).append(statistics.quantiles(latencies, n=100)[98] * 1e3)
        taken.setdefault("growth of the front", []).append(after - before)
    units = {
        "answered in time, share of capacity": "",
        "p99 of the answered": "ms",
        "growth of the front": "MiB",
    }
    for what, samples in taken.items():
        add(table, what, samples, units[what], most={"growth of the front": 4.0}.get(what))
    table.notes = (
        "Capacity is what the same replica answers in time when it is flooded. The share is to be >= 0.9."
    )
    return [table]


async def _good(running: Replica, *, rate: float, seconds: float) -> float:
    latencies = await _sent(running, rate=rate, seconds=seconds)
    return sum(latency <= DEADLINE for latency in latencies) / seconds


async def _sent(running: Replica, *, rate: float, seconds: float) -> list[float]:
    """Send at a rate over many connections; the times of what was answered with 200."""
    body = infer_body(1.0, 2.0)
    head = f"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nX-Request-Timeout: {DEADLINE}\r\n"
    raw = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    latencies: list[float] = []
    begun = time.perf_counter()
    sent = 0

    async def ask() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_unix_connection(running.listen.removeprefix("unix:"))
        while (due := begun + sent / rate) < begun + seconds:
            sent += 1
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            status, _ = await exchange(reader, writer, raw)
            if status == 200:
                latencies.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return latencies
