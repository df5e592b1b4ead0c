"""Rolling updates and killed processes under constant load: what fails, and how long it takes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import psutil

from bench import platform
from bench.http import infer_body
from bench.report import Table, add, measured
from tests.support.load import Load
from tests.support.platform import Running

RATE = 200
_NAME = "busy"
_CALM_SECONDS = 1.5
_PATIENCE_SECONDS = 30.0
_CALM_AGAIN_SECONDS = 11.0


async def measure(rounds: int) -> list[Table]:
    """Two tables: updates of a service with two replicas, and recovery of one with a single replica."""
    model, x, _ = platform.iris()
    with platform.running() as running:
        with running.client() as client:
            for _ in range(2):
                client.publish(model, _NAME, x_test=x, optimize="off")
            token = client.deploy(f"{_NAME}@1", name=_NAME, replicas=2).token
        path = f"/services/default/{_NAME}/v2/models/{_NAME}/infer"
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        load = Load(running.port, path, infer_body(x[0].tolist()), headers, rate=RATE)
        updates = await _updates(running, load, rounds)
        with running.client() as client:
            client.deployments.scale(_NAME, 1)
            client.deployments.wait(_NAME)
        return [updates, await _recoveries(running, load, max(2, rounds // 2))]


async def _updates(running: Running, load: Load, rounds: int) -> Table:
    table = measured(f"Rolling updates, 2 replicas, {RATE} requests/s")
    seconds = []
    async with load.running() as outcome:
        for update in range(rounds):
            began = time.perf_counter()
            await asyncio.to_thread(_deploy, running, f"{_NAME}@{2 - update % 2}")
            seconds.append(time.perf_counter() - began)
    add(table, "one update", seconds, "s")
    add(table, "requests that failed", [float(outcome.failed)], f"of {outcome.total}", most=0)
    add(table, "p50", [outcome.quantile(0.5) * 1e3], "ms")
    add(table, "p99", [outcome.quantile(0.99) * 1e3], "ms")
    table.notes = "Updates include the wait until the old replicas are gone."
    return table


def _deploy(running: Running, ref: str) -> None:
    with running.client() as client:
        client.deploy(ref, name=_NAME, replicas=2)


async def _recoveries(running: Running, load: Load, rounds: int) -> Table:
    table = measured(f"`kill -9` until answers come again, 1 replica, {RATE} requests/s")
    victims: dict[str, Callable[[], psutil.Process]] = {
        "worker": lambda: platform.front(running, _NAME).children()[0],
        "front": lambda: platform.front(running, _NAME),
        "Envoy": lambda: platform.envoy(running),
    }
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, find in victims.items():
            victim = await asyncio.to_thread(find)
            back, failed, slowest = await _killed(load.again(), victim.pid)
            taken.setdefault(f"{name}: until the next success", []).append(back)
            taken.setdefault(f"{name}: requests that failed", []).append(failed)
            taken.setdefault(f"{name}: slowest request", []).append(slowest)
            await asyncio.to_thread(_settled, running)
            # A replica that fails again so soon is held back on purpose; measured is the first failure.
            await asyncio.sleep(_CALM_AGAIN_SECONDS)
    for what, samples in taken.items():
        add(table, what, samples, "" if "failed" in what else "s", most=2.0 if "until" in what else None)
    return table


async def _killed(load: Load, pid: int) -> tuple[float, float, float]:
    """Seconds from the kill to the end of the longest silence after it, failures, and the slowest request."""
    async with load.running() as outcome:
        await asyncio.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        killed = last = time.monotonic()
        longest = back = 0.0
        seen = outcome.answers["200"]
        while not back or time.monotonic() - (killed + back) < _CALM_SECONDS:
            await asyncio.sleep(0.002)
            now = time.monotonic()
            if now - killed > _PATIENCE_SECONDS:
                raise RuntimeError(f"no answers {_PATIENCE_SECONDS:g} s after the kill: {outcome.answers}")
            if outcome.answers["200"] > seen:
                seen = outcome.answers["200"]
                if now - last > longest:
                    longest, back = now - last, now - killed
                last = now
    return back, float(outcome.failed), max(outcome.latencies)


def _settled(running: Running) -> None:
    with running.client() as client:
        client.deployments.wait(_NAME)
