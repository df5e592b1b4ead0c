"""Deploying: what a spec means here and now, and making it so, or only saying what would be done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from modelyard.control import (
    addressing,
    environments,
    hours,
    kinds,
    missing,
    models,
    operations,
    planning,
    quotas,
    secrets,
    servers,
    usable,
    views,
)
from modelyard.control.deployments import allowed
from modelyard.control.platform import Platform
from modelyard.control.preconditions import require_generation
from modelyard.domain import access, naming, scaling, takeover
from modelyard.domain import planning as plans
from modelyard.domain import revisions as rules
from modelyard.domain.access import Actor, Resource, Verb
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key, Revision
from modelyard.domain.errors import Conflict
from modelyard.domain.planning import Plan
from modelyard.domain.runtime import Runtime, RuntimeStatus
from modelyard.domain.views import DeploymentView
from modelyard.store import Snapshot, Transaction, deployments, projects, revisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of a deploy."""

    view: DeploymentView
    """With the service's token, if the actor may call it."""
    created: bool
    changed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """What a spec means here and now."""

    before: Deployment | None
    current: Revision | None
    spec: DeploymentSpec
    """With the model pinned."""
    run: DeploymentSpec
    """With the runtime resolved as well."""
    build: Runtime | None
    warnings: tuple[str, ...]
    breaking: tuple[str, ...]
    """What requests of today would break on."""

    @property
    def reruns(self) -> bool:
        """Whether replicas must be replaced."""
        return self.current is None or rules.needs_revision(self.current.spec, self.run)

    @property
    def changes(self) -> bool:
        """Whether there is anything to store."""
        return self.before is None or self.reruns or self.before.spec != self.spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Under which circumstances a deploy may be carried out, and what the history says of it."""

    expected: int | None = None
    """Conflict unless the generation is that (0: it must not exist)."""
    allow_breaking: bool = False
    """Also when requests of today would break; else such a deploy raises Refused."""
    reason: str = "deploy"


async def apply(
    platform: Platform, actor: Actor, key: Key, spec: DeploymentSpec, condition: Condition | None = None
) -> Applied:
    """Create or replace a deployment. The same spec again changes nothing.

    The model is pinned to a version and the runtime chosen now; a revision is made only when what runs
    changes.
    """
    condition = condition or Condition()
    await allowed(platform, actor, Verb.DEPLOY, key)
    await servers.require_permitted(platform, actor, key, spec)
    naming.require_name(key.name, "name")
    host = await platform.environments.host()
    async with platform.database.begin() as tx:
        draft = await _draft(platform, tx, key, spec, host)
        require_generation("the deployment", draft.before, condition.expected)
        planning.require_compatible(key.service, draft.breaking, allow_breaking=condition.allow_breaking)
        await addressing.require_host(platform, tx, actor, key, draft.spec)
        await quotas.require(tx, draft.before, _meant(platform, actor, key, draft))
        if draft.before is None:
            after = await operations.create(
                platform, tx, actor, key, draft.spec, run=draft.run, reason=condition.reason
            )
        elif draft.changes:
            after = await _replace(platform, tx, actor, draft, draft.before, reason=condition.reason)
        else:
            after = draft.before
        if draft.changes:
            after = await _record(platform, tx, actor, draft, after)
    if draft.build is not None:
        platform.hint(kinds.RUNTIME, kinds.runtime_key(draft.build.project, draft.build.name))
    platform.hint(kinds.DEPLOYMENT, str(key))
    may_call = access.may(actor, Verb.INFER, Resource(project=key.project))
    token = secrets.service_token(platform.master_key, after) if may_call else ""
    shown = views.view(platform, after, token=token)
    return Applied(view=shown, created=draft.before is None, changed=draft.changes)


async def preview(
    platform: Platform, actor: Actor, key: Key, spec: DeploymentSpec, *, expected: int | None = None
) -> DeploymentView:
    """The deployment as `apply` would leave it, with what it would do as its message; nothing is changed."""
    await allowed(platform, actor, Verb.DEPLOY, key)
    await servers.require_permitted(platform, actor, key, spec)
    naming.require_name(key.name, "name")
    host = await platform.environments.host()
    async with platform.database.read() as tx:
        draft = await _draft(platform, tx, key, spec, host)
        await addressing.require_host(platform, tx, actor, key, draft.spec)
        meant = _meant(platform, actor, key, draft)
        await quotas.require(tx, draft.before, meant)
    require_generation("the deployment", draft.before, expected)
    before = draft.before or replace(meant, generation=0, revision=0)
    after = replace(
        before,
        spec=draft.spec,
        generation=before.generation + draft.changes,
        revision=before.revision + draft.reruns,
        status=replace(before.status, warnings=draft.warnings),
    )
    return replace(views.view(platform, after), message="; ".join(_steps(draft, after)))


async def plan(platform: Platform, actor: Actor, key: Key, spec: DeploymentSpec) -> Plan:
    """What `apply` would do with this spec; nothing is changed."""
    await allowed(platform, actor, Verb.DEPLOY, key)
    await servers.require_permitted(platform, actor, key, spec)
    naming.require_name(key.name, "name")
    host = await platform.environments.host()
    async with platform.database.read() as tx:
        draft = await _draft(platform, tx, key, spec, host)
        losers = await addressing.require_host(platform, tx, actor, key, draft.spec)
        over = await quotas.refusal(tx, draft.before, _meant(platform, actor, key, draft))
    before, old = draft.before, draft.before.spec if draft.before else None
    losers = losers if _claims_anew(before, draft.spec, platform.clock()) else ()
    kind = plans.act(before, reruns=draft.reruns, changes=draft.changes)
    runs = planning.sized(before, before.spec) if before else None
    run = planning.sized(before, draft.run) if draft.changes else runs or draft.run
    return Plan(
        project=key.project,
        service=key.service,
        act=kind,
        revision=(before.revision if before else 0) + draft.reruns,
        model=draft.run.model,
        runtime=draft.run.runtime,
        changes=plans.changes(old, draft.spec),
        breaking=draft.breaking,
        totals=plans.totals(runs, run, kind),
        fits=over.why if over else await planning.room(platform, runs, run, kind),
        traffic=plans.traffic(old, draft.spec, kind, key.stage) + plans.takeover(draft.spec, losers),
        builds=draft.build.name if draft.build else "",
        warnings=draft.warnings,
    )


async def publish_service(
    platform: Platform, actor: Actor, project: str, ref: naming.ModelRef, *, name: str = ""
) -> DeploymentView:
    """Make an offline service of a model version, named after both when nobody names it.

    Raises Conflict when there is one of that name already.
    """
    await allowed(platform, actor, Verb.DEPLOY, Key(project, name or ref.name))
    async with platform.database.read() as tx:
        version = await models.resolve(tx, project, ref)
        key = Key(project, name or naming.service_name(ref.name, version.label or version.version))
        there = await deployments.get(tx, key)
    if there is not None:
        raise Conflict(_taken(there, version.ref, named=bool(name)))
    applied = await apply(
        platform, actor, key, DeploymentSpec(model=str(ref), replicas=0), Condition(expected=0)
    )
    return applied.view


def _claims_anew(before: Deployment | None, spec: DeploymentSpec, now: float) -> bool:
    """Whether the deployment would want its host from now on, and not as it did before."""
    return before is None or takeover.claimed(replace(before, spec=spec), now=now).claim != before.claim


def _taken(there: Deployment, ref: str, *, named: bool) -> str:
    """Why a name cannot be had; the digits of two versions may be the same."""
    service = there.key.service
    if named or there.spec.model == ref:
        return f"service {service!r} already exists; deploy to it, or choose another name"
    return (
        f"service {service!r} already exists and serves {there.spec.model}: "
        f"{ref} gives the same name, as only a version's digits count; give a name yourself"
    )


async def _draft(
    platform: Platform, tx: Snapshot, key: Key, spec: DeploymentSpec, host: RuntimeStatus
) -> _Draft:
    if await projects.get(tx, key.project) is None:
        raise missing.project(key.project)
    before = await deployments.get(tx, key)
    if before is not None and before.deleting:
        raise Conflict(f"{key.service} is being removed; wait until it is gone, then deploy it anew")
    hours.require_zone(spec.autoscaling.time_zone)
    servers.require_possible(platform, spec)
    await usable.require(tx, key.project, spec)
    meant = await servers.resolve(platform, tx, key.project, spec, host)
    current = await revisions.get(tx, key, before.revision) if before else None
    return _Draft(
        before=before,
        current=current,
        spec=meant.spec,
        run=meant.run,
        build=meant.build,
        warnings=(*meant.warnings, *filter(None, (scaling.ignored(key, spec),))),
        breaking=await planning.breaking(tx, before, meant.run),
    )


def _meant(platform: Platform, actor: Actor, key: Key, draft: _Draft) -> Deployment:
    """The deployment with its new spec, as it is or as it would be made."""
    if draft.before is not None:
        return replace(draft.before, spec=draft.spec, revision=draft.before.revision + draft.reruns)
    return Deployment(
        project=key.project,
        name=key.name,
        stage=key.stage,
        spec=draft.spec,
        created_at=platform.at(),
        created_by=actor.name,
    )


async def _replace(
    platform: Platform, tx: Transaction, actor: Actor, draft: _Draft, before: Deployment, *, reason: str
) -> Deployment:
    changed = replace(before, spec=draft.spec)
    if draft.reruns:
        return await operations.rerun(platform, tx, actor, changed, draft.run, reason=reason)
    after = await deployments.update(tx, changed, expected=before.generation)
    return await addressing.settle(platform, tx, after)


async def _record(
    platform: Platform, tx: Transaction, actor: Actor, draft: _Draft, after: Deployment
) -> Deployment:
    """The rest of the transaction: warnings, the runtime to build, the event, the work."""
    after = replace(after, status=replace(after.status, warnings=draft.warnings))
    await deployments.record(tx, after.key, after.status)
    if draft.build is not None:
        await environments.order(platform, tx, draft.build)
    reason = "Deployed" if draft.before is None or draft.reruns else "Changed"
    message = "; ".join(_steps(draft, after))
    await operations.announce(platform, tx, actor, after.key, reason=reason, message=message)
    return after


def _steps(draft: _Draft, after: Deployment) -> Iterator[str]:
    """What is done, in words."""
    if not draft.changes:
        yield "nothing changes"
        return
    if draft.before is None:
        yield f"creates {after.key.service} with {draft.run.replicas} replicas"
    elif said := rules.changed(draft.before.spec, draft.spec):
        yield said
    if draft.reruns:
        what = draft.run.model or draft.run.server.kind
        yield f"revision {after.revision} runs {what} in runtime {draft.run.runtime}"
    if draft.build is not None:
        yield f"builds runtime {draft.build.name}"
    yield from (f"warning: {warning}" for warning in draft.warnings)
