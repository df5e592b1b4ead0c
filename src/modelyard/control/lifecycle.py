"""From one stage to the next, and out of all of them: promote and clear."""

from __future__ import annotations

from dataclasses import replace

from modelyard.control import addressing, applying, kinds, operations, views
from modelyard.control.applying import Applied, Condition
from modelyard.control.deployments import allowed, found
from modelyard.control.platform import Platform
from modelyard.domain import stages
from modelyard.domain.access import Actor, Verb
from modelyard.domain.deployment import Deployment, Key
from modelyard.domain.planning import Plan
from modelyard.domain.views import DeploymentView
from modelyard.store import Transaction, deployments, work


async def promote(
    platform: Platform, actor: Actor, key: Key, *, allow_breaking: bool = False, clear: bool = False
) -> Applied:
    """Make the next stage run what this one runs: debug → test → production.

    The next stage keeps its own size and exposure and moves by its own strategy, without losing a request;
    what it ran is in its history. With `clear` the stage that was promoted goes offline. Raises Conflict
    while this stage is not ready, Refused when requests to production would break.
    """
    await allowed(platform, actor, Verb.DEPLOY, key)
    target = stages.promoted_to(key)
    async with platform.database.read() as tx:
        source = await found(tx, key)
        before = await deployments.get(tx, target)
    stages.require_proven(source)
    condition = Condition(
        expected=before.generation if before else 0,
        allow_breaking=allow_breaking,
        reason=f"promote {key.service} revision {source.revision}",
    )
    applied = await applying.apply(platform, actor, target, stages.promoted(source, before), condition)
    async with platform.database.begin() as tx:
        what = source.spec.model or source.spec.server.kind
        message = f"revision {source.revision} ({what}) to {target.stage}"
        await operations.announce(platform, tx, actor, key, reason="Promoted", message=message)
    if clear:
        await _clear(platform, actor, (key,))
    return applied


async def plan_promotion(platform: Platform, actor: Actor, key: Key) -> Plan:
    """What `promote` would do; nothing is changed."""
    await allowed(platform, actor, Verb.DEPLOY, key)
    target = stages.promoted_to(key)
    async with platform.database.read() as tx:
        source = await found(tx, key)
        before = await deployments.get(tx, target)
    stages.require_proven(source)
    return await applying.plan(platform, actor, target, stages.promoted(source, before))


async def clear(
    platform: Platform, actor: Actor, key: Key, *, every_stage: bool
) -> tuple[DeploymentView, ...]:
    """Take a service offline: its replicas finish what they have and end; specs and history stay.

    `every_stage` takes all stages of the name offline. Idempotent; raises NotFound when there is none.
    """
    keys = stages.all_stages(key) if every_stage else (key,)
    await allowed(platform, actor, Verb.OPERATE, key)
    return await _clear(platform, actor, keys)


async def _clear(platform: Platform, actor: Actor, keys: tuple[Key, ...]) -> tuple[DeploymentView, ...]:
    cleared: list[Deployment] = []
    async with platform.database.begin() as tx:
        for key in keys:
            before = await deployments.get(tx, key)
            if before is not None and not before.deleting:
                cleared.append(await _offline(platform, tx, actor, before))
        if not cleared:
            await found(tx, keys[0])
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    for each in cleared:
        platform.hint(kinds.DEPLOYMENT, str(each.key))
    return tuple(views.view(platform, each) for each in cleared)


async def _offline(platform: Platform, tx: Transaction, actor: Actor, before: Deployment) -> Deployment:
    if before.spec.replicas == 0:
        return before
    wanted = replace(before, spec=replace(before.spec, replicas=0))
    after = await deployments.update(tx, wanted, expected=before.generation)
    after = await addressing.settle(platform, tx, after)
    message = f"{before.spec.replicas} replicas of revision {before.revision} end"
    await operations.announce(platform, tx, actor, before.key, reason="Cleared", message=message)
    return after
