"""Tasks wait for their turn: in order, visible with why, and never for good."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from modelyard.backends.base import Answer, Task
from modelyard.control import projects, tasks, trials, validation
from modelyard.control.line import MOST_WAITING, NoTurn
from modelyard.domain.access import Role
from modelyard.domain.deployment import Failure, Key, Resources
from modelyard.domain.errors import BackendError, Unavailable
from modelyard.domain.model import Validation
from modelyard.domain.naming import ModelRef
from modelyard.domain.node import Gpu, Node
from modelyard.domain.project import ProjectSpec
from modelyard.domain.queue import Queued, State
from modelyard.domain.quota import Quota
from modelyard.domain.views import TestResult
from tests.control.world import ADMIN, World, member, publish, running, version
from tests.support.virtual import on_virtual_time


class Slow:
    """Tasks that run until they are let go."""

    def __init__(self, world: World) -> None:
        self.began: list[Task] = []
        self._ends: list[asyncio.Event] = []
        world.platform.backend.run = self.run  # type: ignore[method-assign]

    async def run(self, task: Task) -> Answer:
        """Answers once `end` was called."""
        self.began.append(task)
        ended = asyncio.Event()
        self._ends.append(ended)
        await ended.wait()
        return Answer(result={"outputs": {}})

    @property
    def whose(self) -> list[str]:
        return [each.guest.env["MODELYARD_PROJECT"] for each in self.began]

    def end(self, number: int) -> None:
        self._ends[number].set()


def ask(world: World, project: str = "default", **wanted: str) -> asyncio.Task[TestResult]:
    """A test that somebody asks for."""
    request = trials.TestRequest(rows=[[1]], **wanted)  # type: ignore[arg-type]
    asking: Awaitable[TestResult] = trials.test(world.platform, ADMIN, project, ModelRef("churn"), request)
    return asyncio.ensure_future(asking)


async def other(world: World, name: str, own: int = -1) -> None:
    """A project with a model, and places of its own."""
    spec = ProjectSpec(quota=Quota(tasks=own))
    await projects.apply(world.platform, ADMIN, name, spec)
    await publish(world.database, "churn", 1, project=name)


async def seen(world: World) -> list[Queued]:
    return list(await tasks.list(world.platform, ADMIN))


@on_virtual_time
async def test_tests_begin_in_order_and_those_that_wait_say_where_and_why() -> None:
    async with running(task_places=1) as world:
        slow = Slow(world)
        asked = []
        for _ in range(3):
            asked.append(ask(world))
            await asyncio.sleep(0.1)
        found = await seen(world)
        assert [(each.state, each.position) for each in found] == [
            (State.RUNNING, 0), (State.WAITING, 1), (State.WAITING, 2),
        ]  # fmt: skip
        assert (found[1].subject, found[1].kind, found[1].why) == (
            "churn@2", "test", "the one place for validation and tests is taken",
        )  # fmt: skip
        for number in range(3):
            assert len(slow.began) == number + 1
            slow.end(number)
            await asked[number]
            await asyncio.sleep(0.1)
        assert await seen(world) == []


@on_virtual_time
async def test_a_project_borrows_and_gives_way_before_it_begins() -> None:
    async with running(task_places=2) as world:
        await other(world, "a", own=1)
        await other(world, "b", own=1)
        slow = Slow(world)
        asked = [ask(world, "a"), ask(world, "a")]
        await asyncio.sleep(0.1)
        assert [each.borrows for each in await seen(world)] == [False, True]
        asked += [ask(world, "a"), ask(world, "b")]
        await asyncio.sleep(0.1)
        assert [(each.project, each.position) for each in await seen(world)][2:] == [("b", 1), ("a", 2)]
        slow.end(1)
        await asyncio.sleep(0.1)
        assert slow.whose == ["a", "a", "b"], "what b has is its own"
        slow.end(2)
        await asyncio.sleep(0.1)
        assert slow.whose == ["a", "a", "b", "a"], "and is lent again"
        slow.end(0)
        slow.end(3)
        await asyncio.gather(*asked)


@on_virtual_time
async def test_who_hangs_up_and_asks_again_has_the_place_of_before() -> None:
    async with running(task_places=1) as world:
        await other(world, "a")
        slow = Slow(world)
        first = ask(world)
        await asyncio.sleep(0.1)
        leaving = ask(world, "a")
        await asyncio.sleep(0.1)
        behind = ask(world)
        await asyncio.sleep(0.1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        again = ask(world, "a")
        await asyncio.sleep(0.1)
        assert [(e.project, e.position) for e in await seen(world)][1:] == [("a", 1), ("default", 2)]
        for number, each in enumerate((first, again, behind)):
            slow.end(number)
            await each
            await asyncio.sleep(0.1)


@on_virtual_time
async def test_who_waits_too_long_is_refused_with_its_position_and_leaves_nothing() -> None:
    async with running(task_places=1, queue_seconds=30.0) as world:
        slow = Slow(world)
        first = ask(world)
        await asyncio.sleep(0.1)
        with pytest.raises(
            Unavailable, match=r"waited 30 s at position 1 of the queue: the one place.*`model"
        ):
            await ask(world)
        leaving = ask(world)
        await asyncio.sleep(0.1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert [each.state for each in await seen(world)] == [State.RUNNING]
        slow.end(0)
        await first


@on_virtual_time
async def test_a_line_that_is_too_long_takes_nobody_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_WAITING >= 100
    monkeypatch.setattr("modelyard.control.line.MOST_WAITING", 1)
    async with running(task_places=1) as world:
        slow = Slow(world)
        asked = [ask(world)]
        await asyncio.sleep(0.1)
        asked.append(ask(world))
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable, match="1 tasks wait already"):
            await ask(world)
        for number in range(2):
            slow.end(number)
            await asked[number]
            await asyncio.sleep(0.1)


@on_virtual_time
@pytest.mark.parametrize(("away", "first"), [(30.0, "again"), (400.0, "other")])
async def test_who_is_turned_away_at_a_full_line_keeps_its_number_for_a_while(
    monkeypatch: pytest.MonkeyPatch, away: float, first: str
) -> None:
    async with running(task_places=1, start=False, queue_seconds=1000.0) as world:
        for name in ("again", "other"):
            await other(world, name)
        monkeypatch.setattr("modelyard.control.line.MOST_WAITING", 0)
        for _ in range(2):
            with pytest.raises(Unavailable, match="0 tasks wait already"):
                await ask(world, "again")
        monkeypatch.undo()
        slow = Slow(world)
        asked = [ask(world)]
        await asyncio.sleep(0.1)
        asked.append(ask(world, "other"))
        await asyncio.sleep(away)
        asked.append(ask(world, "again"))
        await asyncio.sleep(0.1)
        for number in range(3):
            slow.end(number)
            await asyncio.sleep(0.1)
        assert slow.whose[1] == first
        await asyncio.gather(*asked)


@on_virtual_time
async def test_cards_are_waited_for_and_no_two_tests_get_the_same() -> None:
    async with running(task_places=4) as world:
        (node,) = world.backend._nodes
        cards = tuple(Gpu(index=index, name="T4", memory_bytes=1) for index in range(2))
        world.backend._nodes = (replace(node, gpus=cards),)
        slow = Slow(world)
        asked = [ask(world, gpu="1")]
        await asyncio.sleep(0.1)
        asked += [ask(world, gpu="2"), ask(world, gpu="1")]
        await asyncio.sleep(0.1)
        asked.append(ask(world))
        await asyncio.sleep(0.1)
        assert [each.gpus for each in slow.began] == [(0,), ()], "two or none, and nobody takes one of them"
        assert [each.why for each in await seen(world)][2:] == [
            "insufficient nvidia.com/gpu: needs 2, free 1",
            "another task that waits for such cards is before it",
        ]
        slow.end(0)
        await asyncio.sleep(0.1)
        assert [each.gpus for each in slow.began][2:] == [(0, 1)]
        slow.end(2)
        await asyncio.sleep(0.1)
        assert [each.gpus for each in slow.began][3:] == [(0,)]
        slow.end(1)
        slow.end(3)
        await asyncio.gather(*asked)


@on_virtual_time
async def test_a_card_that_a_service_gives_back_is_noticed() -> None:
    async with running(task_places=4) as world:
        (node,) = world.backend._nodes
        world.backend._nodes = (replace(node, gpus=(Gpu(index=0, name="T4", memory_bytes=1),)),)
        await world.deploy(resources=Resources(gpu="1"))
        await world.until_running()
        slow = Slow(world)
        asked = ask(world, gpu="1")
        await asyncio.sleep(3)
        assert slow.began == []
        await world.deploy(replicas=0, resources=Resources(gpu="1"))
        await world.until(lambda: asyncio.sleep(0, bool(slow.began)))
        slow.end(0)
        await asked


@on_virtual_time
async def test_a_service_does_not_get_the_card_of_a_test() -> None:
    async with running(task_places=4) as world:
        (node,) = world.backend._nodes
        world.backend._nodes = (replace(node, gpus=(Gpu(index=0, name="T4", memory_bytes=1),)),)
        slow = Slow(world)
        asked = ask(world, gpu="1")
        await asyncio.sleep(0.1)
        assert [each.gpus for each in slow.began] == [(0,)]
        await world.deploy(resources=Resources(gpu="1"))
        await asyncio.sleep(10)
        assert await world.ready() == []
        slow.end(0)
        await asked
        await world.until_running()
        assert [each.gpus for each in await world.ready()] == [(0,)]


@on_virtual_time
async def test_others_are_shown_without_what_they_do() -> None:
    async with running(task_places=1) as world:
        await other(world, "secret")
        slow = Slow(world)
        asked = [ask(world, "secret")]
        await asyncio.sleep(0.1)
        asked.append(ask(world))
        await asyncio.sleep(0.1)
        found = await tasks.list(world.platform, member("eve", Role.VIEWER))
        assert [(each.project, each.subject) for each in found] == [
            ("another project", ""), ("default", "churn@2"),
        ]  # fmt: skip
        for number in range(2):
            slow.end(number)
            await asked[number]
            await asyncio.sleep(0.1)


@on_virtual_time
async def test_a_task_that_fails_gives_its_place_back() -> None:
    async with running(task_places=1) as world:

        async def broken(task: Task) -> Answer:
            raise Unavailable("the machine is away")

        world.platform.backend.run = broken  # type: ignore[method-assign]
        for _ in range(2):
            with pytest.raises(Unavailable, match="the machine is away"):
                await ask(world)
        assert await seen(world) == []


@on_virtual_time
async def test_what_was_uploaded_is_kept_and_loaded_when_its_turn_comes() -> None:
    async with running(task_places=1, queue_seconds=5.0) as world:
        slow = Slow(world)
        first = ask(world)
        await asyncio.sleep(0.1)
        draft = replace(version("default", "churn", ""), artifacts=version("default", "churn", "9").artifacts)
        checked = await validation.check(world.platform, draft)
        assert checked.validation is Validation.DEFERRED
        assert checked.warnings[-1].startswith("not validated yet: waited 5 s at position 1 of the queue")
        with pytest.raises(Unavailable, match="waited 5 s"):
            await validation.check(world.platform, replace(draft, version="1"))
        slow.end(0)
        await first


@on_virtual_time
async def test_where_the_cluster_decides_its_words_are_shown_and_its_no_is_asked_again() -> None:
    async with running(task_places=1, queue_seconds=7.0) as world:
        backend, ended = world.platform.backend, asyncio.Event()
        backend.admits_tasks = lambda: "Kueue (ClusterQueue research)"  # type: ignore[method-assign]

        async def suspended(task: Task) -> Answer:
            assert task.patience_seconds == 7.0
            task.told("waits in LocalQueue q: no quota")
            await asyncio.sleep(1)
            task.told("")
            await ended.wait()
            return Answer(result={"outputs": {}})

        backend.run = suspended  # type: ignore[method-assign]
        asked = [ask(world), ask(world)]
        await asyncio.sleep(0.5)
        found = await seen(world)
        assert {(each.state, each.position, each.why) for each in found} == {
            (State.WAITING, 0, "waits in LocalQueue q: no quota")
        }
        await asyncio.sleep(1)
        assert [each.state for each in await seen(world)] == [State.RUNNING] * 2, "not by the places here"
        ended.set()
        await asyncio.gather(*asked)

        async def refused(task: Task) -> Answer:
            return Answer(result=None, failure=Failure(reason="Queued", message="waited 7 s: no quota"))

        backend.run = refused  # type: ignore[method-assign]
        with pytest.raises(Unavailable, match="waited 7 s: no quota"):
            await ask(world)
        assert await seen(world) == []


@on_virtual_time
async def test_a_look_that_fails_ends_nobodys_wait_and_is_told() -> None:
    async with running(task_places=1, start=False, queue_seconds=30.0) as world:
        slow, nodes = Slow(world), world.backend.nodes

        async def away() -> tuple[Node, ...]:
            raise BackendError("the cluster is away", retryable=True)

        world.backend.nodes = away  # type: ignore[method-assign]
        asked = [ask(world), ask(world)]
        await asyncio.sleep(3)
        assert [(each.state, each.why) for each in await seen(world)] == [
            (State.WAITING, "the cluster is away"),
        ] * 2  # fmt: skip
        world.backend.nodes = nodes  # type: ignore[method-assign]
        for number in range(2):
            await asyncio.sleep(1.5)
            slow.end(number)
            await asked[number]
        world.backend.nodes = away  # type: ignore[method-assign]
        with pytest.raises(NoTurn, match="waited 30 s in the queue: the cluster is away"):
            await ask(world)


@on_virtual_time
async def test_a_deployment_that_is_looked_at_for_long_holds_up_only_who_wants_cards() -> None:
    async with running(task_places=4, start=False, queue_seconds=60.0) as world:
        (node,) = world.backend._nodes
        world.backend._nodes = (replace(node, gpus=(Gpu(index=0, name="T4", memory_bytes=1),)),)
        slow, keys, started = Slow(world), world.backend.keys, asyncio.Event()

        async def busy() -> frozenset[Key]:
            await started.wait()
            return await keys()

        world.backend.keys = busy  # type: ignore[method-assign]
        wants = ask(world, gpu="1")
        await asyncio.sleep(0.1)
        plain = ask(world)
        await asyncio.sleep(8)
        assert [each.gpus for each in slow.began] == [()]
        waits = (await seen(world))[1]
        assert waits.why == "what is free is not known within 5 s"
        slow.end(0)
        await plain
        started.set()
        await asyncio.sleep(5)
        assert slow.began[1].gpus == (0,)
        keys_asked: list[bool] = []

        async def counted() -> frozenset[Key]:
            keys_asked.append(True)
            return await keys()

        world.backend.keys = counted  # type: ignore[method-assign]
        other = ask(world)
        await asyncio.sleep(1)
        assert keys_asked == [], "who runs on cards makes nobody look at services"
        slow.end(1)
        slow.end(2)
        await asyncio.gather(wants, other)


@on_virtual_time
async def test_who_waits_looks_together_and_a_given_place_is_taken_at_once() -> None:
    async with running(task_places=1, start=False) as world:
        slow, nodes, looks = Slow(world), world.backend.nodes, 0

        async def late() -> tuple[Node, ...]:
            nonlocal looks
            looks += 1
            await asyncio.sleep(0.2)
            return await nodes()

        world.backend.nodes = late  # type: ignore[method-assign]
        asked = [ask(world) for _ in range(30)]
        await asyncio.sleep(1)
        looks = 0
        await asyncio.sleep(10)
        assert looks <= 20, "not one for each that waits"
        slow.end(0)
        await asyncio.sleep(0.5)
        assert len(slow.began) == 2, "who was given the place does not wait until the others have looked"
        for number in range(1, 30):
            slow.end(number)
            await asyncio.sleep(0.5)
        await asyncio.gather(*asked)


@on_virtual_time
async def test_who_goes_while_it_looks_leaves_the_look_to_others() -> None:
    async with running(task_places=1, start=False) as world:
        slow, nodes = Slow(world), world.backend.nodes

        async def late() -> tuple[Node, ...]:
            await asyncio.sleep(0.2)
            return await nodes()

        world.backend.nodes = late  # type: ignore[method-assign]
        asked = [ask(world), ask(world)]
        await asyncio.sleep(0.1)
        asked[0].cancel()
        await asyncio.sleep(0.3)
        assert len(slow.began) == 1
        slow.end(0)
        await asked[1]
