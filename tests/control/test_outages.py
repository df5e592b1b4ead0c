"""While nobody can tell what replicas do, nothing is done, and that is said."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from modelyard.backends.base import Outage
from modelyard.backends.memory import Pace
from modelyard.control import deployments, operations
from modelyard.domain import conditions
from modelyard.domain.deployment import Key
from modelyard.domain.views import State
from modelyard.store import events
from tests.control.world import ADMIN, CHURN, World, running
from tests.support.virtual import clock, on_virtual_time

QUICK = Pace(start_seconds=0.1, stop_seconds=0.05, build_seconds=1.0)


def outage() -> Outage:
    """One that begins now."""
    return Outage(since=clock(), message="the cluster does not answer: connection refused")


async def reasons(world: World) -> list[str]:
    """What happened, in order."""
    async with world.database.read() as tx:
        found = await events.list(tx, kind="deployment", newest_first=False)
    return [event.reason for event in found]


async def stale(world: World, key: Key = CHURN) -> bool:
    """Whether its status says that it is old."""
    return conditions.is_stale((await world.deployment(key)).status)


@on_virtual_time
async def test_the_last_status_stays_and_says_that_it_is_old() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=2)
        before = await world.until_running()
        world.backend.away = outage()
        await world.until(lambda: stale(world))
        during = await world.deployment()
        view = await deployments.get(world.platform, ADMIN, CHURN)
        said = await deployments.explain(world.platform, ADMIN, CHURN)
        assert during.status.replicas == before.status.replicas
        assert view.state is State.RUNNING
        assert "does not answer" in view.message
        (found,) = (c for c in during.status.conditions if c.type == conditions.REACHABLE)
        since = datetime.fromtimestamp(found.since, UTC).isoformat(timespec="seconds")
        assert found.message.endswith(f"what is shown was seen at {since} or earlier")
        assert [finding.reason for finding in said.findings] == ["BackendUnreachable"]
        world.backend.away = None

        async def over() -> bool:
            return not await stale(world)

        await world.until(over)
        assert (await reasons(world))[-2:] == ["BackendUnreachable", "BackendReachable"]


@on_virtual_time
async def test_nothing_is_started_ended_or_failed_meanwhile() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy(replicas=2)
        await world.until_running()
        names = {r.name for r in await world.backend.observe(CHURN)}
        world.backend.away = outage()
        await world.deploy(model="churn@2", replicas=3)
        await world.deploy(key=Key("default", "other"))
        world.backend.crash(CHURN, min(names))
        await asyncio.sleep(120)
        assert {r.name for r in await world.backend.observe(CHURN)} == names
        assert await world.backend.observe(Key("default", "other")) == ()
        assert (await world.deployment()).status.crashes.count == 0
        assert (await reasons(world)).count("BackendUnreachable") == 2
        world.backend.away = None
        await world.until_running()
        await world.until_running(Key("default", "other"))


@on_virtual_time
async def test_what_is_deleted_meanwhile_goes_when_it_can_be_seen_again() -> None:
    async with running(pace=QUICK) as world:
        await world.deploy()
        await world.until_running()
        world.backend.away = outage()
        await operations.delete(world.platform, ADMIN, CHURN)
        await asyncio.sleep(60)
        assert await world.backend.keys() == {CHURN}
        world.backend.away = None

        async def gone() -> bool:
            return not await world.backend.keys()

        await world.until(gone)


@on_virtual_time
async def test_what_the_backend_notices_becomes_an_event() -> None:
    async with running(pace=QUICK) as world:
        world.platform.news.tell(CHURN, "DriftCorrected", "somebody had changed the image")

        async def told() -> bool:
            return "DriftCorrected" in await reasons(world)

        await world.until(told)
