"""Have runtimes built, see how far they are, and remove those that are not wanted."""

from __future__ import annotations

from dataclasses import replace

from modelyard.control import authorise, kinds
from modelyard.control.loop import Again
from modelyard.control.platform import Platform
from modelyard.control.runtimes import KIND, users
from modelyard.domain.runtime import Runtime, RuntimeState, RuntimeStatus
from modelyard.store import runtimes as store
from modelyard.store import work

BUILDING = Again(0.25)
REST = Again(600.0)


async def reconcile(platform: Platform, text: str) -> Again | None:
    """One step; None when the runtime is gone."""
    project, name = kinds.split(text)
    async with platform.database.read() as tx:
        runtime = await store.get(tx, project, name)
        using = await users(tx, project, name) if runtime else ()
    if runtime is None:
        return None
    if runtime.deleting:
        return await _remove(platform, runtime)
    status = await platform.environments.observe(runtime)
    if _needs_build(runtime, status):
        await platform.environments.build(runtime)
        status = await platform.environments.observe(runtime)
    status = replace(status, observed_generation=runtime.generation)
    if status != runtime.status:
        await _record(platform, runtime, status, using)
    return BUILDING if status.state in (RuntimeState.PENDING, RuntimeState.BUILDING) else REST


def _needs_build(runtime: Runtime, seen: RuntimeStatus) -> bool:
    """Nothing was begun, or it failed and somebody has asked again since."""
    asked = runtime.status.observed_generation != runtime.generation
    return seen.state is RuntimeState.PENDING or (seen.state is RuntimeState.FAILED and asked)


async def _record(
    platform: Platform, runtime: Runtime, status: RuntimeStatus, using: tuple[str, ...]
) -> None:
    project, name = runtime.project, runtime.name
    ended = status.state in (RuntimeState.READY, RuntimeState.FAILED)
    news = ended and status.state is not runtime.status.state
    keys = [f"{project}/{service}" for service in using]
    async with platform.database.begin() as tx:
        if not await store.record(tx, project, name, status):
            return
        if news:
            words = f"{status.reason}: {status.message}" if status.reason else status.message
            reason = "RuntimeReady" if status.state is RuntimeState.READY else "RuntimeFailed"
            await authorise.note(
                platform, tx, None, project=project, kind=KIND, name=name, reason=reason, message=words[:2000]
            )
        for key in keys:
            await work.put(tx, kinds.DEPLOYMENT, key, due_at=platform.clock())
    for key in keys:
        platform.hint(kinds.DEPLOYMENT, key)


async def _remove(platform: Platform, runtime: Runtime) -> Again | None:
    """Forget it, unless somebody began to use it meanwhile; its files go when no other shares them."""
    project, name = runtime.project, runtime.name
    async with platform.database.begin() as tx:
        current = await store.get(tx, project, name)
        if current is None or not current.deleting:
            return Again(0.0)
        if await users(tx, project, name):
            await store.update(tx, replace(current, deleting=False), expected=current.generation)
            return Again(0.0)
        others = [r.spec for r in await store.all(tx) if (r.project, r.name) != (project, name)]
        await store.delete(tx, project, name)
        await authorise.note(platform, tx, None, project=project, kind=KIND, name=name, reason="Deleted")
    await platform.environments.remove(runtime, others=others)
    return None
