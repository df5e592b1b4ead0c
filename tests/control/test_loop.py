from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count, pairwise

import pytest

from modelyard.control.loop import Again, Loop, Pace, Terminal
from modelyard.domain.errors import Unavailable
from modelyard.store import Database, work
from tests.support.inline import InlineDatabase
from tests.support.virtual import clock, on_virtual_time

Reconcile = Callable[[str], Awaitable[Again | None]]
PACE = Pace(lease_seconds=5.0)
_TOKENS = count()


def make(database: Database, reconcile: Reconcile, **named: object) -> Loop:
    return Loop(
        database,
        {"thing": reconcile},
        clock=clock,
        new_token=lambda: f"token-{next(_TOKENS)}",
        pace=PACE,
        **named,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def at_work(loop: Loop) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def put(database: Database, key: str = "a", *, due_in: float = 0.0) -> None:
    async with database.begin() as tx:
        await work.put(tx, "thing", key, due_at=clock() + due_in)


@on_virtual_time
async def test_failures_back_off_up_to_a_limit_and_success_resets() -> None:
    database = InlineDatabase()
    calls: list[float] = []
    failing = 9

    async def reconcile(_: str) -> Again | None:
        calls.append(clock())
        if len(calls) <= failing:
            raise OSError("the world is away")
        return None

    loop = make(database, reconcile)
    await put(database)
    async with at_work(loop):
        await asyncio.sleep(400)
        pauses = [round(b - a) for a, b in pairwise(calls)]
        assert pauses[1:] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert len(calls) == failing + 1
        failing += 2
        await put(database)
        loop.hint("thing", "a")
        await asyncio.sleep(0.9)
    assert len(calls) == failing + 1


@on_virtual_time
async def test_a_hint_is_followed_at_once_also_while_the_key_rests() -> None:
    database, calls = InlineDatabase(), []

    async def reconcile(_: str) -> Again | None:
        calls.append(clock())
        return Again(300.0)

    loop = make(database, reconcile)
    await put(database)
    async with at_work(loop):
        await asyncio.sleep(10)
        hinted = clock()
        loop.hint("thing", "a")
        await asyncio.sleep(1)
    assert len(calls) == 2
    assert calls[1] - hinted < 0.01


@on_virtual_time
async def test_a_process_too_slow_to_keep_its_leases_goes_on_and_has_no_twin_of_its_own() -> None:
    database, running, most, ended = InlineDatabase(), 0, 0, []
    late = 0.0

    async def reconcile(_: str) -> Again | None:
        nonlocal running, most, late
        running += 1
        most = max(most, running)
        if not ended:
            late = 60.0  # the whole machine stood still: the lease ended, and nobody could keep it
            await asyncio.sleep(1.0)
        running -= 1
        ended.append(clock())
        return None

    loop = make(database, reconcile)
    loop._clock = lambda: clock() + late
    await put(database)
    async with at_work(loop) as task:
        await asyncio.sleep(20)
        assert not task.done(), task
        looked = len(ended)
        assert looked > 1, "what was done without a lease is looked at again"
        await put(database)
        loop.hint("thing", "a")
        await asyncio.sleep(1)
    assert len(ended) > looked, "it goes on as ever"
    assert most == 1


@on_virtual_time
async def test_a_key_is_never_reconciled_twice_at_once_and_a_hint_meanwhile_is_not_lost() -> None:
    database, running, most, runs = InlineDatabase(), 0, 0, 0

    async def reconcile(_: str) -> Again | None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        await asyncio.sleep(1.0)
        running -= 1
        return None

    loop = make(database, reconcile)
    await put(database)
    async with at_work(loop):
        await asyncio.sleep(0.5)
        for _ in range(5):
            loop.hint("thing", "a")
        await asyncio.sleep(10)
    assert (most, runs) == (1, 2)


@on_virtual_time
async def test_two_control_planes_on_one_database_share_the_keys_and_never_a_key() -> None:
    database = InlineDatabase()
    owners: dict[str, set[str]] = {}
    running: set[str] = set()

    def reconciler(name: str) -> Reconcile:
        async def reconcile(key: str) -> Again | None:
            assert key not in running
            running.add(key)
            owners.setdefault(key, set()).add(name)
            # Longer than a lease, which has to be extended for it.
            await asyncio.sleep(7.0)
            running.discard(key)
            return Again(2.0)

        return reconcile

    for number in range(12):
        await put(database, f"k{number}")
    one, two = (make(database, reconciler(name)) for name in ("one", "two"))
    async with at_work(one), at_work(two):
        await asyncio.sleep(120)
    assert len(owners) == 12
    assert set.union(*owners.values()) == {"one", "two"}


@on_virtual_time
async def test_the_work_of_a_killed_control_plane_is_taken_over_when_its_lease_ends() -> None:
    database, calls = InlineDatabase(), []

    async def hang(_: str) -> Again | None:
        await asyncio.sleep(1000)
        return None

    async def reconcile(_: str) -> Again | None:
        calls.append(clock())
        return None

    await put(database)
    async with at_work(make(database, hang)):
        await asyncio.sleep(20)
        died = clock()
    async with at_work(make(database, reconcile)):
        await asyncio.sleep(15)
    assert len(calls) == 1
    assert calls[0] - died < 6.0


@on_virtual_time
async def test_what_takes_long_holds_no_stop_up_and_the_next_one_begins_with_it_at_once() -> None:
    database = InlineDatabase()
    began: list[float] = []

    async def endless(_: str) -> Again | None:
        began.append(clock())
        await asyncio.sleep(100_000)
        return None

    loop = make(database, endless)
    await put(database)
    async with at_work(loop) as task:
        await asyncio.sleep(1)
        asked = clock()
        await loop.stop()
        await task
        assert 5 < clock() - asked < 15
    stopped = clock()
    async with at_work(make(database, endless)):
        await asyncio.sleep(1)
    assert [start - stopped < 0.3 for start in began[1:]] == [True]


@on_virtual_time
async def test_stopping_gives_every_lease_back_so_that_the_next_one_begins_at_once() -> None:
    database, calls = InlineDatabase(), []

    async def moving(_: str) -> Again | None:
        return Again(0.1)

    async def reconcile(_: str) -> Again | None:
        calls.append(clock())
        return None

    await put(database)
    loop = make(database, moving)
    async with at_work(loop) as task:
        await asyncio.sleep(1.03)
        await loop.stop()
        await task
        stopped = clock()
    async with at_work(make(database, reconcile)):
        await asyncio.sleep(0.5)
    assert [call - stopped < 0.3 for call in calls] == [True]


@on_virtual_time
async def test_the_result_of_a_lost_lease_is_dropped() -> None:
    database, outcomes = InlineDatabase(), []

    async def reconcile(_: str) -> Again | None:
        if not outcomes:
            async with database.begin() as tx:
                # Another control plane took the key, as after a long pause of this one.
                await work.claim(tx, "thing", limit=1, now=clock() + 6, lease_seconds=1000, token="other")
            await asyncio.sleep(3)
        return None

    loop = make(database, reconcile, observe=lambda kind, outcome, seconds: outcomes.append(outcome))
    await put(database)
    async with at_work(loop):
        await asyncio.sleep(5)
    async with database.begin() as tx:
        assert await work.extend(tx, "thing", "a", token="other", until=clock() + 10)
    assert outcomes == ["lost"]


@on_virtual_time
async def test_what_cannot_be_helped_is_not_tried_again_until_it_changes() -> None:
    database, outcomes = InlineDatabase(), []

    async def reconcile(_: str) -> Again | None:
        raise Terminal("never")

    loop = make(database, reconcile, observe=lambda kind, outcome, seconds: outcomes.append((kind, outcome)))
    await put(database)
    async with at_work(loop):
        await asyncio.sleep(500)
        assert outcomes == [("thing", "terminal")]
        await put(database)
        await asyncio.sleep(2)
    assert len(outcomes) == 2


@on_virtual_time
async def test_a_database_that_is_away_for_a_while_loses_no_work() -> None:
    calls, away = [], False

    async def statement() -> None:
        await asyncio.sleep(0)
        if away:
            raise Unavailable("the database is restarting")

    async def reconcile(_: str) -> Again | None:
        calls.append(clock())
        return Again(1.0)

    database = InlineDatabase(statement)
    await put(database)
    async with at_work(make(database, reconcile)) as task:
        await asyncio.sleep(3)
        away, before = True, len(calls)
        await asyncio.sleep(30)
        away, during = False, len(calls)
        await asyncio.sleep(15)
        assert not task.done()
    assert before >= 2
    assert len(calls) > during


@on_virtual_time
async def test_due_work_of_others_is_noticed_without_a_hint() -> None:
    database, calls = InlineDatabase(), []

    async def reconcile(_: str) -> Again | None:
        calls.append(clock())
        return None

    async with at_work(make(database, reconcile)):
        await asyncio.sleep(30)
        due = clock() + 5
        await put(database, due_in=5)
        await asyncio.sleep(10)
    assert [0 <= call - due <= 1.3 for call in calls] == [True]


@pytest.mark.parametrize("keys", [300])
def test_many_due_keys_are_all_served(keys: int) -> None:
    @on_virtual_time
    async def scenario() -> None:
        database, seen = InlineDatabase(), set()

        async def reconcile(key: str) -> Again | None:
            seen.add(key)
            return None

        for number in range(keys):
            await put(database, f"k{number}")
        async with at_work(make(database, reconcile)):
            await asyncio.sleep(10)
        assert len(seen) == keys

    scenario()
