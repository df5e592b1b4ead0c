"""Deployments from stage to stage: plan, promote, clear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query

from modelyard.api.answers import Items, everything
from modelyard.api.deployments import KeyDep
from modelyard.api.idempotency import Idempotent
from modelyard.api.request import ActorDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import applying, lifecycle
from modelyard.domain import wire
from modelyard.domain.access import Verb
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.planning import Plan
from modelyard.domain.views import DeploymentView

router = APIRouter(prefix="/projects/{project}/deployments", tags=["deployments"], route_class=Idempotent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """How to promote."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    allow_breaking: bool = False
    """Also when requests that production answers today would break."""
    clear: bool = False
    """Take the promoted stage offline afterwards."""


@router.post("/{deployment}/plan", openapi_extra=states(Verb.DEPLOY))
async def plan_deployment(platform: PlatformDep, actor: ActorDep, key: KeyDep, body: DeploymentSpec) -> Plan:
    """What a PUT of this spec would do: replicas, resources, traffic, and what it would break."""
    return await applying.plan(platform, actor, key, body)


@router.post("/{deployment}/promote", openapi_extra=states(Verb.DEPLOY))
async def promote_deployment(
    platform: PlatformDep, actor: ActorDep, key: KeyDep, body: Promotion
) -> DeploymentView:
    """Make the next stage run what this one runs: debug → test → production."""
    applied = await lifecycle.promote(
        platform, actor, key, allow_breaking=body.allow_breaking, clear=body.clear
    )
    return replace(applied.view, token="")


@router.post("/{deployment}/promote/plan", openapi_extra=states(Verb.DEPLOY))
async def plan_promotion(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> Plan:
    """What promoting would do."""
    return await lifecycle.plan_promotion(platform, actor, key)


@router.post("/{deployment}/clear", openapi_extra=states(Verb.OPERATE))
async def clear_deployment(
    platform: PlatformDep, actor: ActorDep, key: KeyDep, every_stage: Annotated[bool, Query()] = False
) -> Items[DeploymentView]:
    """Take it offline, with `every_stage` all stages of the name; specs and history stay."""
    return everything(await lifecycle.clear(platform, actor, key, every_stage=every_stage))
