"""Logs are kept within bounds, outlive their replica, and lose no line to rotation."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

from modelyard.backends.local import logs
from modelyard.domain.deployment import Key, Phase
from tests.backends import things
from tests.backends.conftest import LocalWorld
from tests.backends.contract import Shop
from tests.backends.things import KEY
from tests.support.patience import PATIENCE


def lines(count: int, *, start: int = 0) -> str:
    """Numbered lines."""
    return "".join(f"line {number}\n" for number in range(start, start + count))


def test_the_tail_is_the_end_also_of_long_logs(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(lines(50_000))
    assert logs.tail(log, 2) == ["line 49998", "line 49999"]
    assert logs.tail(log, 60_000)[0] == "line 0"
    assert len(logs.tail(log, 20_000)) == 20_000
    assert logs.tail(tmp_path / "none.log", 5) == []


def test_a_line_that_has_only_begun_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"whole\r\nbegun \xff")
    assert logs.tail(log, 5) == ["whole", "begun \ufffd"]


def test_rotation_keeps_one_older_part_and_the_tail_spans_both(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(lines(100))
    logs.rotate(log, above=1 << 20)
    assert log.stat().st_size > 0
    with log.open("a") as writer:
        logs.rotate(log, above=10)
        assert log.stat().st_size == 0
        writer.write(lines(2, start=100))
        writer.flush()
        assert logs.tail(log, 3) == ["line 99", "line 100", "line 101"]
        assert log.read_bytes()[:5] == b"line "
    logs.rotate(log, above=10)
    assert logs.tail(log, 100) == ["line 100", "line 101"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1"]


def test_a_follower_loses_nothing_to_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("before\nbeg")
    follower = logs.Follower.at_end(log)
    with log.open("a") as writer:
        writer.write("un\nsecond\n")
        writer.flush()
        logs.rotate(log, above=1)
        writer.write("third\n")
        writer.flush()
        assert [line.text for line in follower.read()] == ["begun", "second", "third"]
        writer.write("half")
        writer.flush()
        assert follower.read() == []
        writer.write(" whole\n")
    assert [line.text for line in follower.read()] == ["half whole"]
    log.unlink()
    assert follower.read() == []


def test_a_line_without_end_does_not_fill_memory(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 200_000)
    follower = logs.Follower(log)
    assert sum(len(line.text) for line in follower.read()) == 3 * (1 << 16)
    assert len(follower.rest) == 200_000 - 3 * (1 << 16)


def test_only_the_last_logs_of_the_dead_are_kept(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"r{number}.log").write_text("x")
        (tmp_path / f"r{number}.log.1").write_text("x")
    logs.prune(tmp_path, alive={"r0"}, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"r{number}.log{part}" for number in (0, 4, 5) for part in ("", ".1")
    ]


async def test_logs_of_deployments_that_are_gone_go_too_in_time(world: LocalWorld, shop: Shop) -> None:
    other = Key("default", "other")
    await shop.ready("a")
    await shop.ready("b", key=other)
    await world.backend.kill(KEY, "a")
    assert world.log("a").exists()
    world.clock = lambda: time.time() + 30 * 86_400
    await shop.ready("c", key=other)
    await world.backend.kill(other, "c")
    assert not world.log("a").parent.exists()
    assert world.log("b", other).exists()


async def test_the_log_of_a_killed_replica_can_still_be_read(world: LocalWorld, shop: Shop) -> None:
    await world.backend.start(shop.launch("a", spec=things.playing("fail")))
    await shop.until(lambda seen: seen["a"].phase is Phase.FAILED)
    await world.backend.kill(KEY, "a")
    assert [line.text async for line in world.backend.logs(KEY)] == ["front of a begins"]
    await shop.ready("b")
    assert {line.replica async for line in world.backend.logs(KEY)} == {"b"}
    assert {line.replica async for line in world.backend.logs(KEY, replica="a")} == {"a"}


async def test_a_talkative_replica_stays_within_bounds(world: LocalWorld, shop: Shop) -> None:
    world.backend = world.restarted(log_bytes=4000)
    await shop.ready("a", spec=things.playing("talk"))
    async with asyncio.timeout(PATIENCE), aclosing(world.backend.logs(KEY, follow=True, tail=1)) as told:
        seen = 0
        async for line in told:
            seen += len(line.text)
            await world.backend.observe(KEY)
            if seen > 20_000:
                break
    older = world.log("a").with_name("a.log.1")
    assert older.stat().st_size < 20_000
    assert world.log("a").stat().st_size < 20_000
