"""Notice at once what happens in the world: replicas that die or change, a gateway that is gone."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

from modelyard.control import authorise, kinds
from modelyard.control.deployments import KIND
from modelyard.control.platform import Platform
from modelyard.domain.deployment import Key, Replica
from modelyard.domain.errors import ModelyardError
from modelyard.store import deployments, meta, work

log = logging.getLogger(__name__)

PULSE_SECONDS = 0.3
"""How often every replica's process is looked for, which costs next to nothing."""

PATROL_SECONDS = 1.0
"""How often every replica is observed, at most."""

ENSURE_SECONDS = 0.5
"""How often the gateway is looked after."""

_SPARING = 100
"""A patrol is repeated only after so many times what it took, to use no more than 1 % of a core."""

_RAREST_SECONDS = 30.0
"""But never later than this."""


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number; a hint only, as numbers are given again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Watch:
    """Hints at deployments whose replicas changed since it last looked.

    It looks at what runs, not at what this control plane has started, so that each control plane notices
    what the others would have.
    """

    def __init__(self, platform: Platform, *, alive: Callable[[int], bool] = is_alive) -> None:
        self._platform, self._alive = platform, alive
        self._seen: dict[Key, tuple[object, ...]] = {}
        self._pids: dict[int, Key] = {}
        self._away = False

    async def run(self) -> None:
        """Look until cancelled."""
        next_patrol = 0.0
        while True:
            began = self._platform.clock()
            # A clock that was set back must not put off the next patrol.
            if not next_patrol - _RAREST_SECONDS <= began < next_patrol:
                await self._patrol_safely()
                spent = max(self._platform.clock() - began, 0.0)
                pause = min(max(PATROL_SECONDS, spent * _SPARING), _RAREST_SECONDS)
                next_patrol = self._platform.clock() + pause
            self.pulse()
            await asyncio.sleep(PULSE_SECONDS)

    def pulse(self) -> None:
        """Hint at deployments that have lost a process."""
        for pid, key in list(self._pids.items()):
            if not self._alive(pid):
                del self._pids[pid]
                self._seen.pop(key, None)
                self._platform.hint(kinds.DEPLOYMENT, str(key))

    async def patrol(self) -> None:
        """Observe everything once, and hint at what is not as it was; at all, when nothing can be seen."""
        away = self._platform.backend.outage() is not None
        if away != self._away:
            self._away = away
            async with self._platform.database.read() as tx:
                for deployment in await deployments.all(tx):
                    self._platform.hint(kinds.DEPLOYMENT, str(deployment.key))
        if away:
            return
        found: dict[Key, tuple[object, ...]] = {}
        pids: dict[int, Key] = {}
        for key in await self._platform.backend.keys():
            replicas = await self._platform.backend.observe(key)
            found[key] = tuple(_essence(replica) for replica in replicas)
            pids |= {replica.pid: key for replica in replicas if replica.pid}
        for key in sorted(found.keys() | self._seen.keys()):
            if found.get(key) != self._seen.get(key):
                self._platform.hint(kinds.DEPLOYMENT, str(key))
        self._seen, self._pids = found, pids

    async def _patrol_safely(self) -> None:
        try:
            await self.patrol()
        except (ModelyardError, OSError) as error:
            log.warning("replicas cannot be observed", extra={"error": str(error)})


async def keep_news(platform: Platform) -> None:
    """Record what the backend notices by itself, until cancelled."""
    while True:
        for key, reason, message in await platform.news.taken():
            try:
                async with platform.database.begin() as tx:
                    await authorise.note(
                        platform, tx, None, project=key.project, kind=KIND, name=key.service, reason=reason,
                        message=message,
                    )  # fmt: skip
            except ModelyardError as error:
                log.warning("news was not recorded: %s", error, extra={"deployment": str(key)})


async def keep_gateway(platform: Platform) -> None:
    """Start or adopt the gateway whenever it does not run, and record why when it cannot; until cancelled."""
    last: str | None = None
    refused: Mapping[str, str] = {}
    while True:
        try:
            failure = await platform.gateway.ensure()
            if refused != platform.gateway.refused():
                refused = platform.gateway.refused()
                platform.hint(kinds.GATEWAY, kinds.ALL)
            said = f"{failure.reason} {failure.message}" if failure else ""
            if said != last:
                await _record(platform, said)
                last = said
        except (ModelyardError, OSError) as error:
            log.warning("the gateway cannot be looked after", extra={"error": str(error)})
        await asyncio.sleep(ENSURE_SECONDS)


async def _record(platform: Platform, said: str) -> None:
    """Keep what was found, and have it said of every deployment when it is news."""
    async with platform.database.begin() as tx:
        news = (await meta.get(tx, kinds.GATEWAY_FAILURE) or "") != said
        await meta.set(tx, kinds.GATEWAY_FAILURE, said)
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
        concerned = [str(each.key) for each in await deployments.all(tx)] if news else []
        for key in concerned:
            await work.put(tx, kinds.DEPLOYMENT, key, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)
    for key in concerned:
        platform.hint(kinds.DEPLOYMENT, key)


def _essence(replica: Replica) -> tuple[object, ...]:
    return (replica.name, replica.pid, replica.phase, replica.worker_restarts, replica.failure)
