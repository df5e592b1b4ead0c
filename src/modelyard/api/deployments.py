"""Deployments: desired state and verbs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Body, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from modelyard.api import merge, sse
from modelyard.api.answers import Items, ServiceToken, everything, page
from modelyard.api.idempotency import Idempotent
from modelyard.api.request import ActorDep, ExpectedDep, IntervalDep, PagingDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.backends.base import LogLine
from modelyard.control import applying, deployments, journal, metrics, operations
from modelyard.domain import wire
from modelyard.domain.access import Verb
from modelyard.domain.deployment import DeploymentSpec, Key, Revision
from modelyard.domain.event import Event
from modelyard.domain.explain import Explanation
from modelyard.domain.figures import Metrics
from modelyard.domain.program import Program
from modelyard.domain.views import DeploymentView

router = APIRouter(prefix="/projects/{project}/deployments", tags=["deployments"], route_class=Idempotent)


def _key(project: str, deployment: str) -> Key:
    return Key.parse(deployment, project=project, path="deployment")


KeyDep = Annotated[Key, Depends(_key)]


class Options(BaseModel):
    """How to apply a spec."""

    dry_run: bool = False
    allow_breaking: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many replicas to keep ready, or what decides it; what is not said stays."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    replicas: int | None = None
    autoscaling: dict[str, Any] | None = None
    """Fields of the spec's `autoscaling` to change; `{"max": null}` takes a default again."""
    priority: dict[str, Any] | None = None
    """Fields of the spec's `priority` to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """Where to go back to; without a revision to the one before."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The name of the copy."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    name: str


@router.get("", openapi_extra=states(Verb.READ))
async def list_deployments(
    platform: PlatformDep, actor: ActorDep, project: str, paging: PagingDep
) -> Items[DeploymentView]:
    """All deployments."""
    return page(await deployments.list(platform, actor, project, limit=paging.limit, after=paging.after))


@router.get("/{deployment}", openapi_extra=states(Verb.READ))
async def get_deployment(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> DeploymentView:
    """One deployment with its status; `NAME@STAGE` for another stage than production."""
    return await deployments.get(platform, actor, key)


@router.put("/{deployment}", openapi_extra=states(Verb.DEPLOY))
async def apply_deployment(
    platform: PlatformDep,
    actor: ActorDep,
    key: KeyDep,
    body: DeploymentSpec,
    expected: ExpectedDep,
    response: Response,
    options: Annotated[Options, Query()],
) -> DeploymentView:
    """Create or replace; the answer carries the service's token. With `dry_run` nothing changes.

    A production service whose callers would break is refused unless `allow_breaking`.
    """
    if options.dry_run:
        return await applying.preview(platform, actor, key, body, expected=expected)
    condition = applying.Condition(expected=expected, allow_breaking=options.allow_breaking)
    applied = await applying.apply(platform, actor, key, body, condition)
    response.status_code = 201 if applied.created else 200
    return applied.view


@router.patch("/{deployment}", openapi_extra=states(Verb.DEPLOY))
async def patch_deployment(
    platform: PlatformDep,
    actor: ActorDep,
    key: KeyDep,
    body: Annotated[dict[str, Any], Body()],
    expected: ExpectedDep,
    allow_breaking: Annotated[bool, Query()] = False,
) -> DeploymentView:
    """Merge changes into the spec (RFC 7396)."""
    current = await deployments.get(platform, actor, key)
    spec = merge.patched(current.spec, body)
    generation = current.generation if expected is None else expected
    condition = applying.Condition(expected=generation, allow_breaking=allow_breaking)
    return (await applying.apply(platform, actor, key, spec, condition)).view


@router.delete("/{deployment}", status_code=202, openapi_extra=states(Verb.DEPLOY))
async def delete_deployment(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> DeploymentView:
    """Begin to take it offline and forget it; replicas finish what they have."""
    await operations.delete(platform, actor, key)
    return await deployments.get(platform, actor, key)


@router.post("/{deployment}/scale", openapi_extra=states(Verb.OPERATE))
async def scale_deployment(
    platform: PlatformDep, actor: ActorDep, key: KeyDep, body: Scale, expected: ExpectedDep
) -> DeploymentView:
    """Change the number of replicas, or what decides it; nothing is restarted."""
    size = operations.Size(replicas=body.replicas)
    if body.autoscaling is not None or body.priority is not None:
        current = await deployments.get(platform, actor, key)
        changes = {"autoscaling": body.autoscaling or {}, "priority": body.priority or {}}
        spec = merge.patched(current.spec, changes)
        size = replace(size, autoscaling=spec.autoscaling, priority=spec.priority)
        expected = current.generation if expected is None else expected
    return await operations.scale(platform, actor, key, size, expected=expected)


@router.post("/{deployment}/restart", openapi_extra=states(Verb.OPERATE))
async def restart_deployment(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> DeploymentView:
    """Replace every replica without losing a request."""
    return await operations.restart(platform, actor, key)


@router.post("/{deployment}/rollback", openapi_extra=states(Verb.OPERATE))
async def roll_back_deployment(
    platform: PlatformDep, actor: ActorDep, key: KeyDep, body: Rollback
) -> DeploymentView:
    """Make what an earlier revision ran the newest revision."""
    return await operations.roll_back(platform, actor, key, to=body.revision)


@router.post("/{deployment}/copy", status_code=201, openapi_extra=states(Verb.DEPLOY))
async def copy_deployment(platform: PlatformDep, actor: ActorDep, key: KeyDep, body: Copy) -> DeploymentView:
    """Make an offline copy under another name."""
    return await operations.copy(platform, actor, key, body.name)


@router.get("/{deployment}/token", openapi_extra=states(Verb.INFER))
async def get_token(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> ServiceToken:
    """The token that opens this service."""
    return ServiceToken(await deployments.token(platform, actor, key))


@router.post("/{deployment}/token", openapi_extra=states(Verb.OPERATE))
async def rotate_token(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> ServiceToken:
    """Make a new token; the old one stops working."""
    return ServiceToken(await operations.rotate_token(platform, actor, key))


@router.get("/{deployment}/history", openapi_extra=states(Verb.READ))
async def get_history(
    platform: PlatformDep, actor: ActorDep, key: KeyDep, paging: PagingDep
) -> Items[Revision]:
    """Its revisions, newest first."""
    return page(await deployments.history(platform, actor, key, limit=paging.limit, after=paging.after))


@router.get("/{deployment}/explain", openapi_extra=states(Verb.READ))
async def explain_deployment(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> Explanation:
    """Why it is as it is, stage by stage, with remedies."""
    return await deployments.explain(platform, actor, key)


@router.get("/{deployment}/server", openapi_extra=states(Verb.READ))
async def get_server(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> Program:
    """The program that serves it: command, ports, configuration files, health; what was generated too."""
    return await deployments.server(platform, actor, key)


@router.get("/{deployment}/metrics", openapi_extra=states(Verb.READ))
async def get_metrics(platform: PlatformDep, actor: ActorDep, key: KeyDep, interval: IntervalDep) -> Metrics:
    """Requests, codes, times and resources over an interval: whole, by revision, by replica, in steps."""
    return await metrics.of(
        platform, actor, key, since=interval.since, until=interval.until, step=interval.step
    )


@router.get("/{deployment}/events", openapi_extra=states(Verb.READ))
async def get_events(
    platform: PlatformDep, actor: ActorDep, key: KeyDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Items[Event]:
    """What happened to it, newest first."""
    found = await journal.of_project(
        platform, actor, key.project, kind=deployments.KIND, name=key.service, limit=limit
    )
    return everything(found)


@router.get("/{deployment}/logs", openapi_extra=states(Verb.OPERATE))
async def get_logs(
    platform: PlatformDep,
    actor: ActorDep,
    key: KeyDep,
    replica: Annotated[str, Query(max_length=200)] = "",
    tail: Annotated[int, Query(ge=0, le=100_000)] = 100,
    follow: Annotated[bool, Query()] = False,
) -> StreamingResponse:
    """What its replicas wrote, as server-sent events of `{"replica", "text"}`."""
    lines = await deployments.logs(platform, actor, key, replica=replica, tail=tail, follow=follow)
    return sse.stream(_documents(lines))


async def _documents(lines: AsyncIterator[LogLine]) -> AsyncIterator[dict[str, Any]]:
    async for line in lines:
        yield {"replica": line.replica, "text": line.text}
