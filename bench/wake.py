"""How long the first request to a sleeping service takes."""

from __future__ import annotations

import asyncio
import time

from bench import platform
from bench.http import Caller, infer_body
from bench.report import Table, add, measured
from modelyard import Client
from modelyard.domain.views import State

_NAME = "iris"
_AT_ONCE = 32


async def measure(rounds: int) -> list[Table]:
    """One request, and many at once, to a scikit-learn service that sleeps."""
    table = measured("Wake from zero (scikit-learn, runtime ready)")
    model, x, _ = platform.iris()
    one: list[float] = []
    many: list[float] = []
    failed = 0
    with platform.running() as running, running.client() as client:
        version = client.publish(model, _NAME, x_test=x, optimize="off")
        sleeps = {"min": 0, "max": 1, "idle_seconds": 1}
        service = client.deploy(version.ref, name=_NAME, autoscaling=sleeps)
        body = infer_body(x[0].tolist())
        for _ in range(rounds):
            for count, taken in ((1, one), (_AT_ONCE, many)):
                await asyncio.to_thread(_asleep, client)
                callers = [
                    Caller(running.port, f"/services/default/{_NAME}", _NAME, service.token)
                    for _ in range(count)
                ]
                began = time.perf_counter()
                answers = await asyncio.gather(*(caller.status(body) for caller in callers))
                taken.append(time.perf_counter() - began)
                failed += sum(status != 200 for status in answers)
    add(table, "asked until answered", one, "s", most=0.5)
    add(table, f"{_AT_ONCE} asked at once until all are answered", many, "s")
    table.notes = f"{failed} of {rounds * (1 + _AT_ONCE)} requests failed."
    return [table]


def _asleep(client: Client) -> None:
    while True:
        view = client.deployments.get(_NAME)
        if view.state is State.ASLEEP and not view.status.replicas:
            return
        time.sleep(0.1)
