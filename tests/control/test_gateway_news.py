"""A gateway that cannot run is said of every deployment, and unsaid when it runs again."""

from __future__ import annotations

import asyncio

from modelyard.domain.deployment import Failure
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
