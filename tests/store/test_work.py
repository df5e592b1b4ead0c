"""The queue: every key due once, one owner at a time, nothing forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from modelyard.store import Database, work

NOW = 1_000_000.0
KIND = "deployment"


async def _put(database: Database, *keys: str, due_at: float = NOW, kind: str = KIND) -> None:
    async with database.begin() as tx:
        for key in keys:
            await work.put(tx, kind, key, due_at=due_at)


async def _claim(database: Database, token: str, *, now: float = NOW, limit: int = 10) -> list[str]:
    async with database.begin() as tx:
        return await work.claim(tx, KIND, limit=limit, now=now, lease_seconds=30, token=token)


async def _finish(database: Database, key: str, token: str, *, due_at: float | None) -> bool:
    async with database.begin() as tx:
        return await work.finish(tx, KIND, key, token=token, due_at=due_at)


async def _next(database: Database) -> float | None:
    async with database.read() as tx:
        return await work.next_due(tx)


async def test_four_claimers_at_once_claim_each_key_once(url: str) -> None:
    claimers = [await Database.open(url) for _ in range(4)]
    await _put(claimers[0], *(f"d{n:03}" for n in range(120)))
    claimed: Counter[str] = Counter()

    async def run(database: Database, name: str) -> int:
        turns = 0
        while keys := await _claim(database, f"{name}{turns}", limit=5):
            claimed.update(keys)
            turns += 1
        return turns

    turns = await asyncio.gather(*(run(database, f"c{n}-") for n, database in enumerate(claimers)))
    assert len(claimed) == 120
    assert set(claimed.values()) == {1}
    assert sum(turns) == 24
    for database in claimers:
        await database.close()


async def test_the_longest_overdue_is_claimed_first_and_nothing_early(database: Database) -> None:
    for key, due_at in (("late", NOW), ("later", NOW - 1), ("early", NOW + 0.001), ("latest", NOW - 9)):
        await _put(database, key, due_at=due_at)
    assert await _claim(database, "t1", limit=2) == ["latest", "later"]
    assert await _claim(database, "t2") == ["late"]
    assert await _claim(database, "t3") == []


async def test_kinds_do_not_mix(database: Database) -> None:
    await _put(database, "same")
    await _put(database, "same", kind="runtime")
    assert await _claim(database, "t1") == ["same"]
    assert await _next(database) == NOW
    async with database.begin() as tx:
        claimed = await work.claim(tx, "runtime", limit=9, now=NOW, lease_seconds=1, token="t")
        assert claimed == ["same"]


async def test_putting_again_makes_it_earlier_and_never_later(database: Database) -> None:
    for due_at in (NOW + 5, NOW + 2, NOW + 9):
        await _put(database, "a", due_at=due_at)
    assert await _next(database) == NOW + 2


async def test_a_finished_key_is_due_when_it_was_told(database: Database) -> None:
    await _put(database, "a")
    await _claim(database, "t1")
    assert await _finish(database, "a", "t1", due_at=NOW + 30)
    assert await _claim(database, "t2", now=NOW + 29) == []
    assert await _claim(database, "t2", now=NOW + 30) == ["a"]


async def test_a_key_finished_for_good_is_gone(database: Database) -> None:
    await _put(database, "a")
    await _claim(database, "t1")
    assert await _finish(database, "a", "t1", due_at=None)
    assert await _next(database) is None
    assert not await _finish(database, "a", "t1", due_at=None)


@pytest.mark.parametrize("due_at", [NOW + 60, None])
async def test_a_stale_token_is_refused(database: Database, due_at: float | None) -> None:
    await _put(database, "a")
    await _claim(database, "t1")
    assert not await _finish(database, "a", "stale", due_at=due_at)
    async with database.begin() as tx:
        assert not await work.extend(tx, KIND, "a", token="stale", until=NOW + 99)
    assert await _finish(database, "a", "t1", due_at=due_at)


@pytest.mark.parametrize("due_at", [NOW + 60, None])
async def test_a_lost_lease_belongs_to_the_next_claimer(database: Database, due_at: float | None) -> None:
    await _put(database, "a")
    assert await _claim(database, "slow") == ["a"]
    assert await _claim(database, "quick", now=NOW + 29.9) == []
    assert await _claim(database, "quick", now=NOW + 30) == ["a"]
    assert not await _finish(database, "a", "slow", due_at=due_at)
    assert await _finish(database, "a", "quick", due_at=NOW + 40)
    assert await _next(database) == NOW + 40


async def test_an_expired_lease_that_nobody_took_can_still_be_finished(database: Database) -> None:
    await _put(database, "a")
    await _claim(database, "t1")
    assert await _finish(database, "a", "t1", due_at=NOW + 600)
    assert await _next(database) == NOW + 600


async def test_an_extended_lease_is_kept_longer(database: Database) -> None:
    await _put(database, "a")
    await _claim(database, "t1")
    async with database.begin() as tx:
        assert await work.extend(tx, KIND, "a", token="t1", until=NOW + 100)
    assert await _claim(database, "t2", now=NOW + 99) == []
    assert await _next(database) == NOW + 100


@pytest.mark.parametrize(("told", "wanted"), [(NOW + 30, NOW + 3), (None, NOW + 3), (NOW + 1, NOW + 1)])
async def test_what_is_put_while_claimed_is_due_again_after_it(
    database: Database, told: float | None, wanted: float
) -> None:
    await _put(database, "a", due_at=NOW - 10)
    await _claim(database, "t1")
    for due_at in (NOW + 8, NOW + 3, NOW + 5):
        await _put(database, "a", due_at=due_at)
    assert await _claim(database, "t2") == []  # still one owner
    assert await _finish(database, "a", "t1", due_at=told)
    assert await _next(database) == wanted
    assert await _claim(database, "t3", now=NOW + 10) == ["a"]


async def test_a_claim_has_seen_what_was_put_before_it(database: Database) -> None:
    await _put(database, "a")
    await _claim(database, "dies")
    await _put(database, "a")
    assert await _claim(database, "t2", now=NOW + 60) == ["a"]
    assert await _finish(database, "a", "t2", due_at=None)
    assert await _next(database) is None


async def test_a_claimed_key_is_next_due_when_its_lease_ends(database: Database) -> None:
    await _put(database, "a")
    await _put(database, "b", due_at=NOW + 50)
    await _claim(database, "t1")
    assert await _next(database) == NOW + 30


async def test_a_row_that_somebody_has_locked_is_passed_over(postgres_url: str) -> None:
    import asyncpg

    database = await Database.open(postgres_url)
    await _put(database, "held", "free")
    other = await asyncpg.connect(postgres_url)
    async with other.transaction():
        await other.execute("SELECT 1 FROM work WHERE key = 'held' FOR UPDATE")
        assert await _claim(database, "t1") == ["free"]
    assert await _claim(database, "t2") == ["held"]
    await other.close()
    await database.close()
