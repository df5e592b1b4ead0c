"""Judged rollouts: how far one is, and what users say about it."""

from __future__ import annotations

from fastapi import APIRouter

from modelyard.api.deployments import KeyDep
from modelyard.api.idempotency import Idempotent
from modelyard.api.request import ActorDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import rollouts
from modelyard.domain.access import Verb
from modelyard.domain.comparison import Report
from modelyard.domain.rollout_view import RolloutView
from modelyard.domain.views import DeploymentView

router = APIRouter(
    prefix="/projects/{project}/deployments/{deployment}/rollout",
    tags=["deployments"],
    route_class=Idempotent,
)


@router.get("", openapi_extra=states(Verb.READ))
async def get_rollout(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> RolloutView:
    """How far the newest judged rollout is, with the numbers of its gates."""
    return await rollouts.status(platform, actor, key)


@router.get("/comparison", openapi_extra=states(Verb.OPERATE))
async def get_comparison(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> Report:
    """How the new revision's answers to mirrored requests differ from the old one's."""
    return await rollouts.comparison(platform, actor, key)


@router.post("/pause", openapi_extra=states(Verb.OPERATE))
async def pause_rollout(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> DeploymentView:
    """Stay at this step; gates go on judging."""
    return await rollouts.pause(platform, actor, key)


@router.post("/resume", openapi_extra=states(Verb.OPERATE))
async def resume_rollout(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> DeploymentView:
    """Go on after a pause, or approve the next step."""
    return await rollouts.resume(platform, actor, key)


@router.post("/abort", openapi_extra=states(Verb.OPERATE))
async def abort_rollout(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> DeploymentView:
    """Give all requests back to the revision before."""
    return await rollouts.abort(platform, actor, key)
