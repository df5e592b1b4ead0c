"""What users see of a judged rollout and say about it: pause, resume, abort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelyard.control import kinds, operations, views
from modelyard.control.deployments import allowed, found
from modelyard.control.platform import Platform
from modelyard.domain import progress, rollout_view
from modelyard.domain.access import Actor, Verb
from modelyard.domain.comparison import Report
from modelyard.domain.deployment import Deployment, Key
from modelyard.domain.errors import Conflict, NotFound
from modelyard.domain.rollout_status import Order, RolloutStatus, Stand
from modelyard.domain.rollout_view import RolloutView
from modelyard.domain.views import DeploymentView
from modelyard.store import Transaction, comparisons, deployments


async def status(platform: Platform, actor: Actor, key: Key) -> RolloutView:
    """How far the newest judged rollout is, with its numbers; also when there was none, which it says."""
    await allowed(platform, actor, Verb.READ, key)
    async with platform.database.read() as tx:
        return rollout_view.view(await found(tx, key))


async def comparison(platform: Platform, actor: Actor, key: Key) -> Report:
    """What comparing mirrored requests has shown; it may hold inputs, so it is for operators."""
    await allowed(platform, actor, Verb.OPERATE, key)
    async with platform.database.read() as tx:
        await found(tx, key)
        report = await comparisons.get(tx, key)
    if report is None:
        raise NotFound(
            f"nothing of {key.service} has been compared; deploy with `--strategy canary --mirror 10`"
        )
    return report


async def pause(platform: Platform, actor: Actor, key: Key) -> DeploymentView:
    """Stay at this step until somebody resumes it; gates go on judging, and may roll it back."""
    return await _ordered(
        platform, actor, key, "RolloutPaused", lambda _, __, order: replace(order, paused=True)
    )


async def resume(platform: Platform, actor: Actor, key: Key) -> DeploymentView:
    """Go on after a pause, or approve the step that waits for it; raises Conflict when nothing waits."""
    return await _ordered(platform, actor, key, "RolloutResumed", _resumed)


async def abort(platform: Platform, actor: Actor, key: Key) -> DeploymentView:
    """Give all requests back to the revision that served before, at once."""
    return await _ordered(
        platform, actor, key, "RolloutAborted", lambda _, __, order: replace(order, aborted=True)
    )


async def _ordered(
    platform: Platform,
    actor: Actor,
    key: Key,
    reason: str,
    decide: Callable[[Deployment, RolloutStatus, Order], Order],
) -> DeploymentView:
    """Store what a user says about the rollout that is under way."""
    await allowed(platform, actor, Verb.OPERATE, key)
    async with platform.database.begin() as tx:
        before, rollout = await _under_way(tx, key)
        order = decide(before, rollout, _order(before, actor))
        after = await _say(platform, tx, actor, before, order, reason=reason)
    platform.hint(kinds.DEPLOYMENT, str(key))
    return views.view(platform, after)


def _resumed(before: Deployment, rollout: RolloutStatus, order: Order) -> Order:
    """On after a pause, else on to the next step."""
    if order.paused:
        return replace(order, paused=False)
    if rollout.stand is not Stand.AWAITING:
        raise Conflict(f"the rollout of {before.key.service} waits for nobody: {rollout.message}")
    stages = before.spec.strategy.stages
    return replace(order, approved=stages[min(rollout.step + 1, len(stages) - 1)])


async def _under_way(tx: Transaction, key: Key) -> tuple[Deployment, RolloutStatus]:
    deployment = await operations.changeable(tx, key)
    rollout = progress.active(deployment)
    if rollout is None:
        raise Conflict(
            f"no rollout of {key.service} is under way; `modelyard rollback {key.service}` goes back to what "
            "ran before"
        )
    return deployment, rollout


def _order(deployment: Deployment, actor: Actor) -> Order:
    """What was said about this revision before."""
    said = deployment.order if deployment.order.revision == deployment.revision else Order()
    return replace(said, revision=deployment.revision, by=actor.name)


async def _say(
    platform: Platform, tx: Transaction, actor: Actor, before: Deployment, order: Order, *, reason: str
) -> Deployment:
    after = await deployments.update(tx, replace(before, order=order), expected=before.generation)
    message = f"revision {before.revision}"
    await operations.announce(platform, tx, actor, before.key, reason=reason, message=message)
    return after
