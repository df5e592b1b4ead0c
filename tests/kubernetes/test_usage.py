"""What pods use, out of the metrics API's words."""

from __future__ import annotations

import asyncio
from typing import Any

from modelyard.backends.kubernetes.client.cluster import Listing
from modelyard.backends.kubernetes.usage import Usage, Use, use_of
from modelyard.domain.errors import NotFound, Unavailable
from tests.support.virtual import on_virtual_time


class Metrics:
    """A cluster that answers with metrics, or not."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.hangs = False

    async def list(self, kind: object, *, labels: str) -> Listing:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return Listing((metrics("250m", "64Mi"),), "1")


def metrics(cpu: str, memory: str) -> dict[str, Any]:
    usage = {"cpu": cpu, "memory": memory}
    return {"metadata": {"namespace": "n", "name": "p"}, "containers": [{"name": "server", "usage": usage}]}


def test_quantities_are_read_as_the_api_writes_them() -> None:
    assert use_of(metrics("1500000000n", "2Ki")) == Use(1.5, 2048)
    assert use_of(metrics("2", "1000")) == Use(2.0, 1000)
    assert use_of(metrics("?", "")) == Use()


async def test_it_is_asked_once_in_a_while_and_kept_while_there_is_no_answer() -> None:
    now, cluster = [100.0], Metrics()
    usage = Usage(cluster, clock=lambda: now[0])  # type: ignore[arg-type]
    assert await usage.read() == {("n", "p"): Use(0.25, 64 << 20)}
    now[0] += 5
    await usage.read()
    assert cluster.asked == 1
    now[0] += 20
    cluster.error = Unavailable("away")
    assert await usage.read() != {}
    now[0] += 200
    assert await usage.read() == {}, "what is that old says nothing"
    cluster.error = NotFound("no metrics API")
    now[0] += 20
    await usage.read()
    now[0] += 60
    await usage.read()
    assert cluster.asked == 4, "where there is none it is looked for rarely"


@on_virtual_time
async def test_one_that_hangs_holds_nothing_up_for_long() -> None:
    cluster = Metrics()
    usage = Usage(cluster, clock=asyncio.get_running_loop().time)  # type: ignore[arg-type]
    known = await usage.read()
    cluster.hangs = True
    await asyncio.sleep(20)
    async with asyncio.timeout(6):
        assert await usage.read() == known


def test_what_was_spent_is_added_up() -> None:
    now = [100.0]
    usage = Usage(Metrics(), clock=lambda: now[0])  # type: ignore[arg-type]
    assert usage.spent("u", Use(cores=0.5)) == 0
    now[0] += 10
    assert usage.spent("u", Use(cores=0.5)) == 5
    usage.forget(frozenset())
    assert usage.spent("u", Use(cores=0.5)) == 0
