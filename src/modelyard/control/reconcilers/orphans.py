"""End replicas that no deployment accounts for, as a crash or a restored backup may leave them."""

from __future__ import annotations

import logging

from modelyard.control import authorise
from modelyard.control.deployments import KIND
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.control.reconcilers import routing
from modelyard.domain.deployment import Key, Phase

log = logging.getLogger(__name__)

REST = Again(30.0)
ENDING = Again(0.25)
_PATIENCE_SECONDS = 60.0
"""An orphan that is told to stop and does not is killed after this."""


async def reconcile(platform: Platform, _: str) -> Again:
    """One step for every orphan: drain it, stop it once nothing is routed to it, kill what is dead."""
    if platform.backend.outage() is not None:
        return REST
    # In this order: what runs was started for a deployment that was there before.
    running = await platform.backend.keys()
    async with platform.database.read() as tx:
        known = {deployment.key for deployment in await routing.everything(tx)}
        intended = await routing.intended(tx)
    orphans = sorted(running - known)
    if not orphans:
        return REST
    routed = intended | await platform.gateway.routed()
    for key in orphans:
        await _end(platform, key, routed)
    return ENDING


async def _end(platform: Platform, key: Key, routed: frozenset[str]) -> None:
    backend, now = platform.backend, platform.clock()
    for replica in await backend.observe(key):
        match replica.phase:
            case Phase.FAILED:
                await backend.kill(key, replica.name)
            case Phase.STOPPING if now - replica.stopping_since > _PATIENCE_SECONDS:
                await backend.kill(key, replica.name)
            case Phase.STOPPING:
                continue
            case Phase.DRAINING if replica.name not in routed:
                await backend.stop(key, replica.name)
            case Phase.DRAINING:
                continue
            case _:
                await backend.drain(key, replica.name)
                await _note(platform, key, replica.name)


async def _note(platform: Platform, key: Key, replica: str) -> None:
    log.warning("replica without a deployment", extra={"deployment": str(key), "replica": replica})
    async with platform.database.begin() as tx:
        await authorise.note(
            platform, tx, None, project=key.project, kind=KIND, name=key.service, reason="OrphanEnded",
            message=replica,
        )  # fmt: skip
