"""How fast, and how much at once: on virtual time."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.backends.kubernetes.client.queue import Limits, Queue
from tests.support import virtual
from tests.support.virtual import on_virtual_time


@on_virtual_time
async def test_a_burst_and_then_so_many_in_a_second() -> None:
    queue, began, loop = Queue(Limits()), [], asyncio.get_running_loop()

    async def one() -> None:
        async with queue.turn():
            began.append(loop.time() - virtual.START)

    await asyncio.gather(*(one() for _ in range(100)))
    assert sum(at < 0.01 for at in began) == 40
    assert 2.9 < max(began) < 3.1
    await asyncio.sleep(10)
    began.clear()
    await asyncio.gather(*(one() for _ in range(40)))
    assert max(began) - min(began) < 0.01  # rest fills the burst again


@given(lasts=st.lists(st.floats(0, 3), max_size=40), at_once=st.integers(1, 8), rate=st.integers(1, 50))
@settings(max_examples=50)
def test_never_more_at_once_nor_more_in_a_second(lasts: list[float], at_once: int, rate: int) -> None:
    async def story() -> None:
        queue = Queue(Limits(per_second=rate, burst=5, at_once=at_once))
        loop, busy, most, began = asyncio.get_running_loop(), 0, 0, []

        async def one(seconds: float) -> None:
            nonlocal busy, most
            async with queue.turn():
                busy += 1
                most = max(most, busy)
                began.append(loop.time())
                await asyncio.sleep(seconds)
                busy -= 1

        await asyncio.gather(*(one(each) for each in lasts))
        assert most <= at_once
        for first in range(len(began)):
            within = sum(began[first] <= at < began[first] + 1 - 1e-3 for at in began)
            assert within <= rate + 5

    virtual.run(story())


@on_virtual_time
async def test_who_is_cancelled_gives_up_its_place() -> None:
    queue = Queue(Limits(at_once=1))
    async with queue.turn():
        waiting = asyncio.create_task(queue.pace())
        blocked = asyncio.create_task(queue.turn().__aenter__())
        await asyncio.sleep(1)
        assert waiting.done()
        blocked.cancel()
    async with asyncio.timeout(1), queue.turn():
        pass
