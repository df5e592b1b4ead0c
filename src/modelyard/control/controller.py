"""One control plane at work: the loop with its reconcilers, and those who watch the world for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from modelyard.control import addressing, kinds, projects, users, watching
from modelyard.control.loop import Again, Loop, Observe, Pace, Reconcile
from modelyard.control.platform import Platform
from modelyard.control.reconcilers import (
    capacity,
    certificate,
    deployments,
    gateway,
    orphans,
    retention,
    runtimes,
    sampling,
    tenants,
    validation,
)
from modelyard.control.reconcilers.autoscaling import Autoscaler
from modelyard.domain import scaling
from modelyard.domain.runtime import RuntimeState
from modelyard.store import deployments as deployment_store
from modelyard.store import runtimes as runtime_store
from modelyard.store import work


def reconcilers(platform: Platform) -> Mapping[str, Reconcile]:
    """One for each kind of work."""
    functions: dict[str, Callable[[Platform, str], Awaitable[Again | None]]] = {
        kinds.RUNTIME: runtimes.reconcile,
        kinds.VALIDATION: validation.reconcile,
        kinds.ORPHANS: orphans.reconcile,
        kinds.RETENTION: retention.reconcile,
        kinds.CERTIFICATE: certificate.reconcile,
        kinds.CAPACITY: capacity.reconcile,
        kinds.PROJECT: tenants.reconcile,
    }
    return {
        kinds.DEPLOYMENT: deployments.Deployments(platform).reconcile,
        kinds.GATEWAY: gateway.Routes(platform).reconcile,
        kinds.SAMPLING: sampling.Sampler(platform).reconcile,
        **{kind: partial(reconcile, platform) for kind, reconcile in functions.items()},
    }


_FROM_THE_START = (
    kinds.GATEWAY, kinds.ORPHANS, kinds.RETENTION, kinds.SAMPLING, kinds.CERTIFICATE, kinds.CAPACITY,
)  # fmt: skip


async def prepare(platform: Platform) -> None:
    """Before the first run: what always exists is there, and everything is looked at once.

    What runs from before is adopted that way.
    """
    await projects.ensure_default(platform)
    await users.ensure_administrator(platform)
    now = platform.clock()
    async with platform.database.begin() as tx:
        every = await addressing.all_projects(tx)
        platform.sites.learn(every)
        for project in every:
            await work.put(tx, kinds.PROJECT, project.name, due_at=now)
        for kind in _FROM_THE_START:
            await work.put(tx, kind, kinds.ALL, due_at=now)
        for deployment in await deployment_store.all(tx):
            await work.put(tx, kinds.DEPLOYMENT, str(deployment.key), due_at=now)
            if scaling.honoured(deployment):
                await work.put(tx, kinds.SCALING, str(deployment.key), due_at=now)
        for runtime in await runtime_store.all(tx):
            if runtime.deleting or runtime.status.state is not RuntimeState.READY:
                key = kinds.runtime_key(runtime.project, runtime.name)
                await work.put(tx, kinds.RUNTIME, key, due_at=now)


class Controller:
    """Runs everything that happens without being asked; as many as you like on one database."""

    def __init__(
        self,
        platform: Platform,
        *,
        observe: Observe = lambda kind, outcome, seconds: None,
        pace: Pace | None = None,
        alive: Callable[[int], bool] = watching.is_alive,
    ) -> None:
        self._platform = platform
        self._autoscaler = Autoscaler(platform)
        self._loop = Loop(
            platform.database,
            {**reconcilers(platform), kinds.SCALING: self._autoscaler.reconcile},
            clock=platform.clock,
            new_token=platform.new_id,
            pace=pace,
            observe=observe,
        )
        self._watch = watching.Watch(platform, alive=alive)

    async def run(self) -> None:
        """Work until stopped; being cancelled is like a crash, which is safe at any moment."""
        self._platform.hints.listen(self._loop.hint)
        watchers = [
            asyncio.create_task(self._watch.run(), name="watch replicas"),
            asyncio.create_task(self._autoscaler.listen(), name="wake services"),
            asyncio.create_task(watching.keep_gateway(self._platform), name="keep gateway"),
            asyncio.create_task(watching.keep_news(self._platform), name="keep news"),
        ]
        try:
            await self._loop.run()
        finally:
            self._platform.hints.ignore(self._loop.hint)
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)

    async def stop(self) -> None:
        """Let running reconciles end and give every lease back; answers when `run` has returned."""
        await self._loop.stop()
