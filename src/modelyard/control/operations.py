"""What operators do to a deployment: scale, restart, roll back, copy, remove, rotate its token."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from modelyard.control import (
    addressing,
    authorise,
    hours,
    kinds,
    missing,
    models,
    quotas,
    secrets,
    servers,
    usable,
    views,
)
from modelyard.control.deployments import KIND, allowed, found
from modelyard.control.platform import Platform
from modelyard.domain import naming, stages
from modelyard.domain import revisions as rules
from modelyard.domain.access import Actor, Verb
from modelyard.domain.autoscaling import Autoscaling
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key, Revision
from modelyard.domain.errors import Conflict
from modelyard.domain.priority import Priority
from modelyard.domain.rollout_status import Order
from modelyard.domain.views import DeploymentView
from modelyard.store import Snapshot, Transaction, deployments, revisions, work


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What decides how many replicas there are; None leaves it as it is."""

    replicas: int | None = None
    autoscaling: Autoscaling | None = None
    priority: Priority | None = None

    def applied(self, spec: DeploymentSpec) -> DeploymentSpec:
        """The spec with this size."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(spec, **{name: value for name, value in said.items() if value is not None})


async def scale(
    platform: Platform, actor: Actor, key: Key, size: int | Size, *, expected: int | None = None
) -> DeploymentView:
    """Change the number of replicas, or what decides it; nothing is restarted. Zero replicas is offline."""
    await allowed(platform, actor, Verb.OPERATE, key)
    size = Size(replicas=size) if isinstance(size, int) else size
    async with platform.database.begin() as tx:
        before = await changeable(tx, key)
        after = replace(before, spec=size.applied(before.spec))
        hours.require_zone(after.spec.autoscaling.time_zone)
        await quotas.require(tx, before, after)
        after = await deployments.update(tx, after, expected=_generation(before, expected))
        after = await addressing.settle(platform, tx, after)
        message = rules.changed(before.spec, after.spec)
        await announce(platform, tx, actor, key, reason="Scaled", message=message)
    platform.hint(kinds.DEPLOYMENT, str(key))
    return views.view(platform, after)


async def restart(platform: Platform, actor: Actor, key: Key) -> DeploymentView:
    """Replace every replica by a new one, one surge at a time, without losing a request.

    A newest revision that failed gets another chance this way.
    """
    await allowed(platform, actor, Verb.OPERATE, key)
    async with platform.database.begin() as tx:
        before = await changeable(tx, key)
        current = await revision(tx, key, before.revision)
        await quotas.require(tx, before, replace(before, revision=before.revision + 1))
        after = await renew(platform, tx, actor, before, current, reason="restart")
    platform.hint(kinds.DEPLOYMENT, str(key))
    return views.view(platform, after)


async def renew(
    platform: Platform,
    tx: Transaction,
    actor: Actor,
    before: Deployment,
    current: Revision,
    *,
    reason: str,
) -> Deployment:
    """Run the same in a new revision.

    What already serves is only started anew; a revision that failed has to prove itself again.
    """
    plain = before.status.good_revision == before.revision
    after = await rerun(platform, tx, actor, before, current.spec, reason=reason, plain=plain)
    told = f"revision {after.revision}" + ("" if reason == "restart" else f": {reason}")
    await announce(platform, tx, actor, after.key, reason="Restarted", message=told)
    return after


async def roll_back(platform: Platform, actor: Actor, key: Key, *, to: int | None = None) -> DeploymentView:
    """Make what an earlier revision ran the newest revision: the one that serves, or the one before it."""
    await allowed(platform, actor, Verb.OPERATE, key)
    async with platform.database.read() as tx:
        target = await _earlier(tx, await found(tx, key), to)
    # Commands and directories of the machine that were taken away since need leave like new ones.
    await servers.require_permitted(platform, actor, key, target.spec)
    async with platform.database.begin() as tx:
        before = await changeable(tx, key)
        target = await _earlier(tx, before, target.number)
        if target.spec.model:
            await models.resolve(tx, key.project, naming.parse_model_ref(target.spec.model))
        spec = rules.rolled_back(before, target)
        await usable.require(tx, key.project, spec)
        wanted = replace(before, spec=spec)
        await quotas.require(tx, before, replace(wanted, revision=before.revision + 1))
        after = await rerun(
            platform, tx, actor, wanted, spec, reason=f"rollback to {target.number}", plain=True
        )
        what = target.spec.model or target.spec.server.kind
        message = f"to what revision {target.number} ran ({what}), as revision {after.revision}"
        await announce(platform, tx, actor, key, reason="RolledBack", message=message)
    platform.hint(kinds.DEPLOYMENT, str(key))
    return views.view(platform, after)


async def _earlier(tx: Snapshot, deployment: Deployment, number: int | None) -> Revision:
    """The revision that a rollback to this number, or to the one before, would run."""
    made = (await revisions.list(tx, deployment.key, limit=1000)).items
    return rules.rollback_target(deployment, made, number)


async def delete(platform: Platform, actor: Actor, key: Key) -> None:
    """Begin to remove it: its replicas finish what they have, then it is forgotten. Idempotent."""
    await allowed(platform, actor, Verb.DEPLOY, key)
    async with platform.database.begin() as tx:
        before = await found(tx, key)
        if not before.deleting:
            await deployments.update(tx, replace(before, deleting=True), expected=before.generation)
            await announce(platform, tx, actor, key, reason="Deleting")
    platform.hint(kinds.DEPLOYMENT, str(key))


async def copy(platform: Platform, actor: Actor, key: Key, name: str) -> DeploymentView:
    """An offline copy under another name in the same project and stage, with a token of its own."""
    await allowed(platform, actor, Verb.DEPLOY, key)
    naming.require_name(name, "name")
    async with platform.database.begin() as tx:
        source = await found(tx, key)
        current = await revision(tx, key, source.revision)
        target = Key(key.project, name, key.stage)
        reason = f"copy of {key.service}"
        run = stages.copied(current.spec)
        made = await create(platform, tx, actor, target, stages.copied(source.spec), run=run, reason=reason)
        await announce(platform, tx, actor, target, reason="Created", message=reason)
    platform.hint(kinds.DEPLOYMENT, str(target))
    return views.view(platform, made)


async def rotate_token(platform: Platform, actor: Actor, key: Key) -> str:
    """A new token for this service; the old one stops working once the gateway has heard of it."""
    await allowed(platform, actor, Verb.OPERATE, key)
    async with platform.database.begin() as tx:
        before = await changeable(tx, key)
        after = replace(before, token_serial=before.token_serial + 1)
        after = await deployments.update(tx, after, expected=before.generation)
        await announce(platform, tx, actor, key, reason="TokenRotated")
        await work.put(tx, kinds.GATEWAY, kinds.ALL, due_at=platform.clock())
    platform.hint(kinds.GATEWAY, kinds.ALL)
    return secrets.service_token(platform.master_key, after)


async def changeable(tx: Transaction, key: Key) -> Deployment:
    """The deployment; raises NotFound, or Conflict while it is being removed."""
    deployment = await found(tx, key)
    if deployment.deleting:
        raise Conflict(f"{key.service} is being removed; wait until it is gone, then deploy it anew")
    return deployment


async def revision(tx: Transaction, key: Key, number: int) -> Revision:
    """The deployment's revision of that number; raises NotFound."""
    found_one = await revisions.get(tx, key, number)
    if found_one is None:
        raise missing.revision(key, number)
    return found_one


async def create(  # noqa: PLR0913 - who makes what of which, and why
    platform: Platform,
    tx: Transaction,
    actor: Actor,
    key: Key,
    spec: DeploymentSpec,
    *,
    run: DeploymentSpec,
    reason: str,
) -> Deployment:
    """A new deployment with its first revision; `run` is `spec` with everything resolved."""
    fresh = Deployment(
        project=key.project,
        name=key.name,
        stage=key.stage,
        spec=spec,
        created_at=platform.at(),
        created_by=actor.name,
    )
    made = await addressing.settle(platform, tx, await deployments.insert(tx, fresh))
    await revisions.insert(tx, snapshot(platform, actor, made, run, reason=reason))
    return made


async def rerun(  # noqa: PLR0913 - who makes what of which, and why
    platform: Platform,
    tx: Transaction,
    actor: Actor,
    before: Deployment,
    run: DeploymentSpec,
    *,
    reason: str,
    expected: int | None = None,
    plain: bool = False,
) -> Deployment:
    """Store the deployment with a new revision that runs `run`; `plain` is whatever the strategy says."""
    number = before.revision + 1
    newer = replace(before, revision=number, order=Order(revision=number, plain=plain, by=actor.name))
    after = await deployments.update(tx, newer, expected=_generation(before, expected))
    after = await addressing.settle(platform, tx, after)
    await revisions.insert(tx, snapshot(platform, actor, after, run, reason=reason))
    return after


def snapshot(
    platform: Platform, actor: Actor, deployment: Deployment, run: DeploymentSpec, *, reason: str
) -> Revision:
    """What the deployment's newest revision runs, for the record."""
    return Revision(
        project=deployment.project,
        name=deployment.name,
        stage=deployment.stage,
        number=deployment.revision,
        spec=run,
        reason=reason,
        created_at=platform.at(),
        created_by=actor.name,
    )


async def announce(
    platform: Platform, tx: Transaction, actor: Actor, key: Key, *, reason: str, message: str = ""
) -> None:
    """Record what was done to the deployment, and make it due."""
    await authorise.note(
        platform, tx, actor, project=key.project, kind=KIND, name=key.service, reason=reason, message=message
    )
    await work.put(tx, kinds.DEPLOYMENT, str(key), due_at=platform.clock())


def _generation(deployment: Deployment, expected: int | None) -> int:
    return deployment.generation if expected is None else expected
