"""What loading and unloading a model again and again costs the serving front."""

from __future__ import annotations

import asyncio
import time

import psutil

from bench import processes
from bench.report import Table, add, measured
from tests.serving.replicas import Replica, replica

CYCLES = 200
SETTLING = 10


async def measure(rounds: int) -> list[Table]:
    """Memory of the front before and after 200 cycles, once it has found its level."""
    del rounds
    table = measured(f"{CYCLES} times load, predict, unload")
    with replica(model_control=True) as running:
        sizes, seconds = await asyncio.to_thread(_cycled, running)
    drift = (sizes[-1] - sizes[0]) / sizes[0] * 100
    add(table, "drift of the front's resident memory", [drift], "%", most=1.0)
    add(table, "the front's resident memory", sizes, "MiB")
    add(table, "one cycle", seconds, "s")
    return [table]


def _cycled(running: Replica) -> tuple[list[float], list[float]]:
    sizes: list[float] = []
    seconds: list[float] = []
    for turn in range(SETTLING + CYCLES):
        began = time.perf_counter()
        for verb in ("unload", "load"):
            answer = running.call("POST", f"/v2/repository/models/echo/{verb}")
            if answer.status != 200:
                raise RuntimeError(f"{verb} was answered {answer.status}: {answer.body.decode()}")
        if running.infer(1.0, 2.0).status != 200:
            raise RuntimeError("the loaded model does not answer")
        if turn >= SETTLING:
            seconds.append(time.perf_counter() - began)
            sizes.append(processes.rss(psutil.Process(running.process.pid)))
    return sizes, seconds
