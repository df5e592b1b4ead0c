"""A gateway that cannot run is said of every deployment, and unsaid when it runs again."""

from __future__ import annotations

import asyncio

from modelyard.domain.address import Address
from modelyard.domain.deployment import Condition, Deployment, Failure, Key, Phase
from tests.control.world import running
from tests.support.virtual import on_virtual_time

TAKEN = Failure(reason="GatewayPortInUse", message="port 8080 of 127.0.0.1 is in use by process 4 (other)")


@on_virtual_time
async def test_a_taken_port_degrades_a_service_at_rest_within_seconds_until_it_is_free_again() -> None:
    async with running() as world:
        await world.deploy()
        await world.until_running()
        await asyncio.sleep(300)
        world.gateway.kill()
        world.gateway.failure = TAKEN

        async def degraded() -> bool:
            said = {c.type: c for c in (await world.deployment()).status.conditions}
            return said["Routed"].reason == "GatewayPortInUse"

        await world.until(degraded, seconds=3)
        world.gateway.failure = None
        await world.until_running(seconds=3)


def routed(said: Deployment) -> Condition:
    return next(c for c in said.status.conditions if c.type == "Routed")


@on_virtual_time
async def test_old_replicas_stay_ready_until_a_gateway_in_front_leads_to_the_new_ones() -> None:
    async with running() as world:
        await world.deploy(replicas=2)
        before = {replica.name for replica in (await world.until_running()).status.replicas}
        world.gateway.is_late = lambda target: target.revision == 2
        await world.deploy(replicas=2, env={"COLOUR": "red"})
        await asyncio.sleep(120)
        now = await world.deployment()
        serving = {r.name for r in now.status.replicas if r.phase is Phase.READY and not r.draining_since}
        assert before <= serving
        assert routed(now).reason == "Publishing"
        assert "of earlier revisions" in routed(now).message
        world.gateway.is_late = lambda target: False

        async def replaced() -> bool:
            after = await world.deployment()
            return {replica.revision for replica in after.status.replicas} == {2}

        await world.until(replaced)
        await world.until_running()


@on_virtual_time
async def test_a_gateway_in_front_that_refuses_is_quoted_until_it_agrees() -> None:
    async with running() as world:
        await world.deploy()
        await world.until_running()
        for words in ("first words", "other words"):
            world.gateway.refusals = {"default/churn": words}

            async def quoted(words: str = words) -> bool:
                said = routed(await world.deployment())
                return (said.ok, said.reason, said.message) == (False, "RouteRefused", words)

            await world.until(quoted, seconds=5)
        world.gateway.refusals = {}
        await world.until_running(seconds=5)


@on_virtual_time
async def test_who_has_a_host_keeps_it_until_a_gateway_in_front_leads_to_the_next_owner() -> None:
    async with running() as world:
        address, other = Address(host="churn.example.com"), Key("default", "other")
        await world.deploy(address=address)
        await world.until_running()
        world.gateway.is_late = lambda target: "other" in target.replica
        await world.deploy(key=other, address=address)
        await asyncio.sleep(60)
        assert len(await world.ready()) == 1
        world.gateway.is_late = lambda target: False

        async def offline() -> bool:
            return not (await world.deployment()).status.replicas

        await world.until(offline)
        await world.until_running(other)
