"""What nobody waits for comes to its turn too: last, without losing what it did, and not too much at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from modelyard.backends.base import Answer, Task
from modelyard.control import kinds, validation
from modelyard.control.line import MOST_BACKGROUND, NoTurn
from modelyard.domain.model import Validation
from modelyard.domain.priority import Level
from modelyard.store import versions, work
from tests.control.test_queue import Slow, ask
from tests.control.world import running, version
from tests.support.virtual import on_virtual_time


@on_virtual_time
async def test_what_nobody_waits_for_comes_last_and_holds_nothing_up() -> None:
    async with running(task_places=1) as world:
        slow = Slow(world)
        first = ask(world)
        await asyncio.sleep(0.1)
        late = replace(version("default", "churn", "3"), validation=Validation.DEFERRED)
        async with world.database.begin() as tx:
            await versions.insert(tx, late)
            await work.put(tx, kinds.VALIDATION, kinds.version_key("default", "churn", "3"), due_at=0.0)
        await asyncio.sleep(5)
        await world.deploy(replicas=1)
        await world.until_running()
        second = ask(world)
        await asyncio.sleep(5)
        slow.end(0)
        await asyncio.sleep(0.1)
        assert [each.kind for each in slow.began] == ["test", "test"]
        slow.end(1)
        await asyncio.gather(first, second)
        await world.until(lambda: asyncio.sleep(0, len(slow.began) == 3))
        assert slow.began[2].kind == "inspect"
        slow.end(2)


@on_virtual_time
async def test_a_version_of_several_artifacts_is_validated_once_it_has_begun() -> None:
    async with running(task_places=1, start=False, queue_seconds=60.0) as world:
        slow = Slow(world)
        several = version("default", "churn", "3")
        (one,) = several.artifacts
        several = replace(several, artifacts=(one, replace(one, name="second")))
        checking = asyncio.ensure_future(validation.check(world.platform, several, level=Level.LOW))
        await asyncio.sleep(0.1)
        asked = ask(world)
        other = replace(version("default", "churn", "4"), validation=Validation.DEFERRED)
        later = asyncio.ensure_future(validation.check(world.platform, other, level=Level.LOW))
        await asyncio.sleep(0.1)
        slow.end(0)
        await asyncio.sleep(10)
        assert not checking.done(), "it waits for longer than what has nothing to lose"
        with pytest.raises(NoTurn, match="waited 2 s"):
            await later
        later = asyncio.ensure_future(validation.check(world.platform, other, level=Level.LOW))
        await asyncio.sleep(0.1)
        slow.end(1)
        await asyncio.sleep(0.1)
        assert [each.guest.artifact.name for each in slow.began] == ["model", "model", "second"]
        slow.end(2)
        assert (await checking).validation is Validation.PASSED
        await asyncio.sleep(0.1)
        slow.end(3)
        await asyncio.gather(asked, later)


@on_virtual_time
async def test_background_work_keeps_its_place_in_the_clusters_queue_for_hours() -> None:
    async with running(start=False, queue_seconds=7.0) as world:
        backend, patience = world.platform.backend, []
        backend.admits_tasks = lambda: "Kueue (ClusterQueue research)"  # type: ignore[method-assign]

        async def suspended(task: Task) -> Answer:
            patience.append(task.patience_seconds)
            return Answer(result={"outputs": {}})

        backend.run = suspended  # type: ignore[method-assign]
        for level in (Level.LOW, Level.NORMAL):
            await validation.check(world.platform, version("default", "churn", "3"), level=level)
        assert patience == [6 * 3600.0, 7.0]


@on_virtual_time
async def test_background_work_takes_at_most_some_of_the_loops_workers() -> None:
    async with running(task_places=20, start=False) as world:
        slow = Slow(world)
        late = [
            replace(version("default", "churn", str(n)), validation=Validation.DEFERRED) for n in range(3, 9)
        ]
        checking = [
            asyncio.ensure_future(validation.check(world.platform, each, level=Level.LOW)) for each in late
        ]
        await asyncio.sleep(0.5)
        assert len(slow.began) == MOST_BACKGROUND == 4
        refused = [each for each in checking if each.done()]
        assert len(refused) == 2
        for each in refused:
            with pytest.raises(NoTurn, match="are in the line already"):
                each.result()
        for number in range(4):
            slow.end(number)
        await asyncio.gather(*checking, return_exceptions=True)
