"""What is kept of what services did: nothing is lost or doubled as it is thinned out."""

from __future__ import annotations

import pytest

from modelyard.domain.observation import KEEP, Load, Part, Window, counted
from modelyard.domain.tallies import Tally
from modelyard.store import Database, measures, readings
from modelyard.store.readings import Last

A, B = Part("default/a", 1), Part("default/a", 2)
NOW = 1_000_000_000 // 3600 * 3600
DAY = 86_400


def _window(n: int, at: float) -> Window:
    return counted({200: n, 503: 1}, {14: 1}, first_at=at, last_at=at + 5)


async def _kept(
    database: Database, since: float = 0.0, until: float = 2e9
) -> list[tuple[object, int, int, int]]:
    async with database.read() as tx:
        found = await measures.read_windows(tx, "default/a", since=since, until=until)
    return [(kept.of, kept.at, kept.step, kept.value.requests) for kept in found]


async def _thin_out(database: Database, now: float) -> None:
    async with database.begin() as tx:
        while await measures.thin_out(tx, now=now):
            pass


async def test_what_comes_later_is_added_and_services_are_told_apart(database: Database) -> None:
    other = Part("default/b", 1, "default/shop")
    async with database.begin() as tx:
        await measures.add_windows(tx, 100, 10, {A: _window(3, 101), other: _window(9, 101)})
        await measures.add_windows(tx, 100, 10, {A: _window(4, 106), B: _window(5, 106)})
        await measures.add_windows(tx, 110, 10, {})
    async with database.read() as tx:
        first, second = await measures.read_windows(tx, "default/a", since=100, until=101)
        (third,) = await measures.read_windows(tx, "default/b", since=100, until=101)
    assert (first.of, second.of, third.of) == (A, B, other)
    assert first.value == _window(3, 101) + _window(4, 106)
    assert third.value == _window(9, 101)
    assert await _kept(database, since=101) == await _kept(database, until=100) == []


async def test_intervals_grow_longer_with_age_and_go_in_the_end(database: Database) -> None:
    async with database.begin() as tx:
        for at in range(NOW - 120, NOW + 60, 10):
            await measures.add_windows(tx, at, 10, {A: _window(1, at)})
            await measures.add_loads(tx, at, 10, {("default/a", "r1"): Load(seconds=10.0, requests=3)})
    total = 18 * 3
    await _thin_out(database, NOW + 3600)
    kept = await _kept(database)
    assert [(at - NOW, step) for _, at, step, _ in kept[:3]] == [(-120, 60), (-60, 60), (0, 10)]
    assert sum(n for *_, n in kept) == total
    await _thin_out(database, NOW + 3600)
    assert await _kept(database) == kept
    await _thin_out(database, NOW + 2 * DAY)
    assert [(at - NOW, step) for _, at, step, _ in await _kept(database)] == [(-3600, 3600), (0, 3600)]
    assert sum(n for *_, n in await _kept(database)) == total
    async with database.read() as tx:
        loads = await measures.read_loads(tx, "default/a", since=0, until=2e9)
    assert [(each.of, each.value.seconds, each.value.requests) for each in loads] == [
        ("r1", 120.0, 36),
        ("r1", 60.0, 18),
    ]
    await _thin_out(database, NOW + KEEP[-1][1] + 2 * 3600)
    assert await _kept(database) == []


async def test_a_service_can_be_forgotten(database: Database) -> None:
    async with database.begin() as tx:
        await measures.add_windows(tx, 100, 10, {A: _window(1, 1), Part("default/ab", 1): _window(1, 1)})
        await measures.forget(tx, "default/a")
        assert await measures.read_windows(tx, "default/a", since=0, until=1e9) == ()
        assert len(await measures.read_windows(tx, "default/ab", since=0, until=1e9)) == 1


async def test_the_last_reading_is_given_back_as_it_was_kept(database: Database) -> None:
    one = Tally(
        route="default/a", share="default/a#1", revision=1, codes={200: 3}, calls={14: 1}, times={100: 4}
    )
    two = Tally(route="default/b", microseconds=7, replicas={"r": 2})
    async with database.begin() as tx:
        empty = await readings.last(tx)
        assert empty == Last()
        totals = {"default/a": 4, "default/b": 0}
        kept = Last(turn=1, at=5.5, epoch="7 9", tallies={one.name: one, two.name: two}, totals=totals)
        await readings.keep(tx, kept, changed=(one, two), gone=())
        assert await readings.last(tx) == kept
        after = Last(turn=2, at=6.5, epoch="7 9", tallies={two.name: two}, totals=totals)
        await readings.keep(tx, after, changed=(), gone={one.name})
        assert await readings.last(tx) == after
        assert await readings.last(tx, known=after) is after
        assert await readings.last(tx, known=kept) == after
        await readings.forget(tx, "default/a")
        forgotten = await readings.last(tx, known=after)
        assert (forgotten.turn, forgotten.totals) == (3, {"default/b": 0})
        assert (forgotten.at, forgotten.tallies) == (after.at, after.tallies)


@pytest.mark.parametrize("fields", [{"minimum": 0.1, "maximum": 2.5, "total_seconds": 7.25}, {}])
async def test_a_window_is_given_back_as_it_was_kept(database: Database, fields: dict[str, float]) -> None:
    histogram = tuple(index % 3 for index in range(len(Window().histogram)))
    given = Window(
        seconds=5.0,
        requests=4,
        codes=((200, 4),),
        errors=1,
        histogram=histogram,
        first_at=1.5,
        last_at=2.5,
        **fields,  # type: ignore[arg-type]
    )
    async with database.begin() as tx:
        await measures.add_windows(tx, 100, 10, {A: given})
        (kept,) = await measures.read_windows(tx, "default/a", since=0, until=1e9)
    assert kept.value == given
