"""What a project's quota leaves to each of its deployments, and what it refuses before anything is begun."""

from __future__ import annotations

from dataclasses import replace

from modelyard.control import authorise, division, missing, requests
from modelyard.control.platform import Platform
from modelyard.domain import quota, scaling
from modelyard.domain.access import Actor, Verb
from modelyard.domain.allotment import Demand
from modelyard.domain.autoscaling import ScalingStatus
from modelyard.domain.deployment import Deployment, Key, Phase
from modelyard.domain.errors import FieldError, Refused
from modelyard.domain.placement import Request
from modelyard.domain.quota import Quota, Share, Use
from modelyard.store import Snapshot, projects

_STAYING = (Phase.STARTING, Phase.READY, Phase.UNREADY)


async def uses(platform: Platform, actor: Actor, project: str) -> tuple[Use, ...]:
    """How much of its quota the project has given away; raises NotFound."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind="project", name=project)
    async with platform.database.read() as tx:
        found = await projects.get(tx, project)
        if found is None:
            raise missing.project(project)
        around = await _demands(tx, project)
    return quota.used(found.spec.quota, list(around.values()))


async def decided(tx: Snapshot, deployment: Deployment) -> ScalingStatus:
    """What is decided about the number of its replicas, with what the project's quota leaves it now."""
    before, limits = deployment.status.scaling, await _of(tx, deployment.project)
    if not limits.bounds() or deployment.deleting:
        return replace(before, allowed=-1, quota="")
    around = list((await _demands(tx, deployment.project)).values())
    share = quota.shares(limits, around, project=deployment.project).get(str(deployment.key), Share(0))
    return replace(before, allowed=share.replicas if share.why else -1, quota=share.why)


async def refusal(tx: Snapshot, before: Deployment | None, after: Deployment) -> Share | None:
    """Why the project's quota has no room for what a deployment is to be; None when it has.

    One that asks for no more than it did before is never refused, though the quota may have become smaller.
    `after` has the next revision's number when something else is to run.
    """
    limits = await _of(tx, after.project)
    if not limits.bounds():
        return None
    around = await _demands(tx, after.project)
    has = around.pop(after.key, None)
    wish = demand(after, Request.of(after.spec.resources))
    if before is not None and has is not None:
        if after.revision == before.revision:
            wish = replace(wish, request=has.request)  # it goes on with what it fell back to
        if quota.is_within(wish, has):
            return None
    return quota.refusal(limits, wish, list(around.values()), project=after.project)


async def require(tx: Snapshot, before: Deployment | None, after: Deployment) -> None:
    """Nothing when the quota has room; else Refused, naming what there is too little of and the remedy."""
    found = await refusal(tx, before, after)
    if found is None:
        return
    remedy = (
        "ask for less, scale down another service of the project (`modelyard project quota "
        f"{after.project}` shows what is used), or have an administrator raise the quota"
    )
    raise Refused(f"{found.why}; {remedy}", errors=[FieldError(quota.field_of(found.lacking), found.why)])


async def _demands(tx: Snapshot, project: str) -> dict[Key, Demand]:
    present = await division.present(tx, project)
    asked = await requests.of(tx, present)
    return {each.key: demand(each, asked[each.key]) for each in present}


def demand(deployment: Deployment, request: Request) -> Demand:
    """What a deployment wants of its project; surge and what drains beside count for nothing."""
    running = sum(r.phase in _STAYING for r in deployment.status.replicas)
    return Demand(
        key=str(deployment.key),
        id=deployment.id,
        rank=deployment.spec.priority.level.rank,
        wanted=scaling.asked(deployment),
        guaranteed=scaling.guaranteed(deployment),
        running=min(running, scaling.wanted(deployment)),
        request=request,
    )


async def _of(tx: Snapshot, project: str) -> Quota:
    found = await projects.get(tx, project)
    return found.spec.quota if found is not None else Quota()
