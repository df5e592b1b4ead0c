"""Logs of containers: nothing twice and nothing lost over breaks; those of several pods by time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.kubernetes.client import logs
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.logs import Line, Position, Wanted
from modelyard.domain.errors import Invalid, NotFound, Unavailable
from tests.kubernetes.client.scripted import Asked, scripted
from tests.support.connected import client
from tests.support.virtual import on_virtual_time

SECOND = 1_000_000_000
NOW = 1_795_000_000


def stamped(nanoseconds: int, text: str) -> str:
    moment = datetime.fromtimestamp(NOW + nanoseconds // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{nanoseconds % SECOND:09d}Z {text}"


class Kubelet:
    """Serves the log of one container, breaking off where a test wants it to."""

    def __init__(
        self, lines: Sequence[tuple[int, str]], *, cuts: Sequence[int] = (), phase: str = "Succeeded"
    ) -> None:
        self.lines, self.cuts, self.phase = lines, list(cuts), phase
        self.queries: list[dict[str, list[str]]] = []

    async def __call__(self, asked: Asked) -> None:
        url = urlsplit(asked.target)
        if not url.path.endswith("/log"):
            return await asked.answer(200, {"metadata": {"name": "p"}, "status": {"phase": self.phase}})
        query = parse_qs(url.query)
        self.queries.append(query)
        since = query.get("sinceTime", ["1970-01-01T00:00:00Z"])[0]
        begin = int(datetime.fromisoformat(since).timestamp()) - NOW
        wanted = [line for line in self.lines if line[0] // SECOND >= begin]
        wanted = wanted[-int(query["tailLines"][0]) :] if "tailLines" in query else wanted
        cut = self.cuts.pop(0) if self.cuts else None
        await asked.begin()
        text = "".join(f"{stamped(*line)}\n" for line in wanted).encode()
        if cut is None:
            return await asked.more(text)
        await asked.more(text[:cut])
        await asyncio.sleep(0.01)
        asked.cut()
        return None


async def read(cluster: Cluster, **options: Any) -> list[str]:
    wanted = Wanted(namespace="a", pod="p", **options)
    return [line.text async for line in logs.lines(cluster, wanted)]


async def test_the_last_lines_of_a_container() -> None:
    kubelet = Kubelet([(n * SECOND, f"line {n}") for n in range(10)])
    async with scripted(kubelet) as there, client(there.url) as cluster:
        assert await read(cluster, tail=2, container="main", previous=True) == ["line 8", "line 9"]
        expected = {"timestamps": ["true"], "container": ["main"], "tailLines": ["2"], "previous": ["true"]}
        assert kubelet.queries == [expected]


@pytest.mark.parametrize("cuts", [[0], [40], [45, 80, 130], [90, 90, 90], [400]])
async def test_after_a_break_nothing_is_missing_and_nothing_twice(
    cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_FIRST_PAUSE_SECONDS", 0.01)
    # Several in one second, two at the same moment, two that are the same in everything.
    lines = [
        (0, "a"),
        (5, "b"),
        (5, "same"),
        (5, "same"),
        (7, "same"),
        (SECOND, "c"),
        (SECOND + 1, "d"),
        (SECOND + 1, "e"),
    ]
    kubelet = Kubelet(lines, cuts=cuts)
    async with scripted(kubelet) as there, client(there.url) as cluster:
        # What was cut within a line comes whole with the next try, though the pod has ended by then.
        assert await read(cluster, follow=True) == [text for _, text in lines]
        assert len(kubelet.queries) == len(cuts) + 1


async def test_a_container_that_has_not_started_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FIRST_PAUSE_SECONDS", 0.01)
    tries = 0

    async def script(asked: Asked) -> None:
        nonlocal tries
        if not urlsplit(asked.target).path.endswith("/log"):
            phase = "Pending" if tries < 3 else "Succeeded"
            return await asked.answer(200, {"metadata": {}, "status": {"phase": phase}})
        tries += 1
        if tries < 3:
            said = 'container "main" in pod "p" is waiting to start: ContainerCreating'
            return await asked.answer(400, {"code": 400, "reason": "BadRequest", "message": said})
        return await asked.answer(200, f"{stamped(0, 'hello')}\n".encode())

    async with scripted(script) as there, client(there.url) as cluster:
        assert await read(cluster, follow=True) == ["hello"]
        tries = 0
        with pytest.raises(Invalid, match="waiting to start"):
            await read(cluster)


async def test_a_long_silence_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("modelyard.backends.kubernetes.client.cluster._QUIET_SECONDS", 0.1)
    opened = 0

    async def script(asked: Asked) -> None:
        nonlocal opened
        if not urlsplit(asked.target).path.endswith("/log"):
            return await asked.answer(200, {"metadata": {}, "status": {"phase": "Succeeded"}})
        opened += 1
        await asked.begin()
        await asked.more(f"{stamped(5, 'before')}\n".encode())
        if opened == 1:
            return await asyncio.sleep(30)  # the node is gone, and nobody says so
        return await asked.more(f"{stamped(SECOND, 'after')}\n".encode())

    async with scripted(script) as there, client(there.url) as cluster:
        assert await read(cluster, follow=True) == ["before", "after"]
        assert opened == 2


async def test_a_log_that_begins_late_is_waited_for() -> None:
    opened = 0

    async def script(asked: Asked) -> None:
        nonlocal opened
        if not urlsplit(asked.target).path.endswith("/log"):
            return await asked.answer(200, {"metadata": {}, "status": {"phase": "Succeeded"}})
        opened += 1
        await asyncio.sleep(0.6)  # as a kubelet, whose headers come with the first line
        await asked.begin()
        return await asked.more(f"{stamped(5, 'hello')}\n".encode())

    async with scripted(script) as there, client(there.url) as cluster:
        cluster._transport._with = replace(cluster._transport._with, answer_seconds=0.2)
        assert await read(cluster, follow=True, tail=0) == ["hello"]
        assert opened == 1
        with pytest.raises(Unavailable):
            await read(cluster)


async def test_pods_that_are_not_there() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(404, {"code": 404, "reason": "NotFound", "message": 'pods "p" not found'})

    async with scripted(script) as there, client(there.url) as cluster:
        for follow in (True, False):
            with pytest.raises(NotFound):
                await read(cluster, follow=follow)


async def test_bytes_that_are_no_text() -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(200, stamped(0, "\r").encode() + b"\n" + stamped(1, "x").encode() + b"\xff")

    async with scripted(script) as there, client(there.url) as cluster:
        assert await read(cluster) == ["", "x\ufffd"]


@pytest.mark.parametrize(
    ("text", "at", "rest"),
    [
        ("2026-11-27T16:00:00.120000000Z hello world", 120_000_000, "hello world"),
        ("2026-11-27T16:00:00.12Z hello", 120_000_000, "hello"),
        ("2026-11-27T17:00:00.000000001+01:00 x", 1, "x"),
        ("2026-11-27T16:00:00Z", 0, ""),
    ],
)
def test_stamps(text: str, at: int, rest: str) -> None:
    base = int(datetime(2026, 11, 27, 16, tzinfo=UTC).timestamp()) * SECOND
    assert logs.line_of(text, "p") == Line(base + at, "p", rest)


def test_lines_without_a_stamp_stay_as_they_are() -> None:
    assert logs.line_of("unable to retrieve container logs", "p") == Line(
        0, "p", "unable to retrieve container logs"
    )


@given(
    history=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=4),
)
def test_positions(history: list[tuple[int, str]], cuts: list[int]) -> None:
    """However often a log is read again from the second of its last line, every line is new once."""
    at, lines = SECOND, []
    for step, text in history:
        at += step * SECOND // 2
        lines.append(Line(at, "p", text))
    position, told = Position(), []
    for cut in [*sorted(cuts), len(lines)]:
        position.reopened()
        begin = position.at // SECOND * SECOND
        rest = [line for line in lines if line.at >= begin][: max(0, cut)]
        told += [line for line in rest if position.is_new(line)]
    position.reopened()
    told += [line for line in lines if line.at >= position.at // SECOND * SECOND and position.is_new(line)]
    assert told == lines


async def given_lines(*lines: tuple[float, Line]) -> AsyncIterator[Line]:
    for wait, line in lines:
        await asyncio.sleep(wait)
        yield line


@on_virtual_time
async def test_lines_of_several_pods_come_by_time() -> None:
    sources = [
        given_lines(*((0.0, Line(n, "even", str(n))) for n in range(0, 20, 2))),
        given_lines(*((0.01, Line(n, "odd", str(n))) for n in range(1, 20, 2))),
        given_lines((5.0, Line(3, "late", "3"))),
        given_lines(),
    ]
    told = [line async for line in logs.merged(sources)]
    assert [line.at for line in told[:20]] == list(range(20))
    assert told[20:] == [Line(3, "late", "3")]  # nobody waited five seconds for it


@on_virtual_time
async def test_a_silent_pod_holds_nobody_up_for_long() -> None:
    loop = asyncio.get_running_loop()
    began, told = loop.time(), []
    sources = [given_lines((100.0, Line(9, "silent", "x"))), given_lines((0.0, Line(1, "busy", "y")))]
    async for _ in logs.merged(sources, window=0.25):
        told.append(round(loop.time() - began, 2))
    assert told == [0.25, 100.0]


@on_virtual_time
async def test_what_fails_in_one_ends_all() -> None:
    async def fails() -> AsyncIterator[Line]:
        yield Line(1, "x", "")
        raise Unavailable("gone")

    with pytest.raises(Unavailable):
        async for _ in logs.merged([fails(), given_lines((1000.0, Line(1, "y", "")))]):
            pass
    assert len(asyncio.all_tasks()) == 1


@on_virtual_time
async def test_the_last_of_all_together() -> None:
    def sources() -> list[AsyncIterator[Line]]:
        return [given_lines((0, Line(1, "a", "")), (0, Line(4, "a", ""))), given_lines((0, Line(2, "b", "")))]

    assert [line.at for line in await logs.last(sources(), 2)] == [2, 4]
    assert await logs.last(sources(), 0) == []
