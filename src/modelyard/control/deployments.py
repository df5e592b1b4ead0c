"""Deployments: list, show, explain, history, logs, tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from modelyard.backends.base import LogLine
from modelyard.control import (
    authorise,
    division,
    downloads,
    environments,
    kinds,
    measuring,
    missing,
    models,
    secrets,
    servers,
    views,
)
from modelyard.control.platform import Platform
from modelyard.domain import naming, troubles
from modelyard.domain.access import Actor, Verb
from modelyard.domain.deployment import Deployment, DeploymentSpec, Failure, Key, Revision
from modelyard.domain.errors import NotFound
from modelyard.domain.event import Event
from modelyard.domain.explain import Explanation
from modelyard.domain.explain import explain as explained
from modelyard.domain.program import Program
from modelyard.domain.runtime import RuntimeStatus
from modelyard.domain.traffic_findings import with_traffic
from modelyard.domain.views import DeploymentView
from modelyard.store import Page, Snapshot, events, meta, projects, revisions
from modelyard.store import deployments as store

KIND = "deployment"
WORKER_RESTARTED = "WorkerRestarted"
"""The event of a worker that died under a replica that goes on."""

LATELY_SECONDS = 600.0
"""So long it is worth a word in an explanation."""


async def list(
    platform: Platform, actor: Actor, project: str, *, limit: int = 100, after: str = ""
) -> Page[DeploymentView]:
    """The project's deployments by service name, `churn` before `churn@test`."""
    await authorise.in_project(platform, actor, Verb.READ, project, kind=KIND)
    async with platform.database.read() as tx:
        if await projects.get(tx, project) is None:
            raise missing.project(project)
        page = await store.list(tx, project, limit=limit, after=after)
    return Page(tuple(views.view(platform, d) for d in page.items), page.next)


async def get(platform: Platform, actor: Actor, key: Key) -> DeploymentView:
    """One deployment with its status; raises NotFound."""
    await allowed(platform, actor, Verb.READ, key)
    async with platform.database.read() as tx:
        return views.view(platform, await found(tx, key))


async def history(
    platform: Platform, actor: Actor, key: Key, *, limit: int = 100, after: str = ""
) -> Page[Revision]:
    """Its revisions, newest first: what ran, since when, by whom and why."""
    await allowed(platform, actor, Verb.READ, key)
    async with platform.database.read() as tx:
        await found(tx, key)
        return await revisions.list(tx, key, limit=limit, after=after)


async def explain(platform: Platform, actor: Actor, key: Key) -> Explanation:
    """Why it is as it is, from the model to the route, with remedies."""
    await allowed(platform, actor, Verb.READ, key)
    async with platform.database.read() as tx:
        deployment = await found(tx, key)
        revision = await revisions.get(tx, key, deployment.wanted_revision)
        recent = await events.list(tx, project=key.project, kind=KIND, name=key.service, limit=50)
        gateway = await gateway_failure(tx)
        parts = await division.parts(platform, tx, key)
    runtime = await _runtime(platform, key, revision.spec if revision else deployment.spec)
    since = platform.clock() - LATELY_SECONDS
    lately = next((e for e in recent if e.reason == WORKER_RESTARTED and e.at.timestamp() > since), None)
    explanation = explained(
        deployment,
        revision,
        runtime=runtime,
        gateway=gateway,
        last=_last_failure(recent),
        lately=_failure(lately) if lately else None,
    )
    now = platform.clock()
    answered = await measuring.by_revision(platform, key, since=now - troubles.SECONDS, until=now)
    told = troubles.told(explanation, answered, {"service": key.service, "project": key.project})
    return with_traffic(told, parts)


async def logs(
    platform: Platform, actor: Actor, key: Key, *, replica: str = "", tail: int = 100, follow: bool = False
) -> AsyncIterator[LogLine]:
    """What its replicas wrote, oldest first; `follow` goes on with what comes."""
    await allowed(platform, actor, Verb.OPERATE, key)
    async with platform.database.read() as tx:
        await found(tx, key)
    return platform.backend.logs(key, replica=replica, tail=tail, follow=follow)


async def server(platform: Platform, actor: Actor, key: Key) -> Program:
    """What serves it: what its spec says, completed by what is generated."""
    await allowed(platform, actor, Verb.READ, key)
    async with platform.database.read() as tx:
        deployment = await found(tx, key)
        return await servers.shown(tx, deployment)


async def token(platform: Platform, actor: Actor, key: Key) -> str:
    """The token that opens this service alone."""
    await allowed(platform, actor, Verb.INFER, key)
    async with platform.database.read() as tx:
        return secrets.service_token(platform.master_key, await found(tx, key))


async def allowed(platform: Platform, actor: Actor, verb: Verb, key: Key) -> None:
    """Nothing when the actor may do this to the deployment; else the attempt is recorded and refused."""
    await authorise.in_project(platform, actor, verb, key.project, kind=KIND, name=key.service)


async def found(tx: Snapshot, key: Key) -> Deployment:
    """The deployment; raises NotFound."""
    deployment = await store.get(tx, key)
    if deployment is None:
        raise missing.deployment(key)
    return deployment


async def gateway_failure(tx: Snapshot) -> Failure | None:
    """Why the gateway does not run, as last found by whoever watches it."""
    reason, _, message = (await meta.get(tx, kinds.GATEWAY_FAILURE) or "").partition(" ")
    return Failure(reason=reason, message=message) if reason else None


async def route_failure(tx: Snapshot, key: Key) -> Failure | None:
    """Why a gateway of the cluster's does not lead to the deployment as it should."""
    refused: dict[str, str] = json.loads(await meta.get(tx, kinds.GATEWAY_REFUSED) or "{}")
    message = refused.get(str(key))
    return Failure(reason="RouteRefused", message=message) if message else None


async def address_failure(tx: Snapshot, key: Key) -> Failure | None:
    """Why the gateway could not open one of the deployment's own ports."""
    unopened: dict[str, str] = json.loads(await meta.get(tx, kinds.GATEWAY_UNOPENED) or "{}")
    message = unopened.get(str(key))
    return Failure(reason="OwnPortInUse", message=message) if message else None


async def _runtime(platform: Platform, key: Key, spec: DeploymentSpec) -> RuntimeStatus | None:
    """How far the runtime is, and which others would do when it cannot be built for want of an index."""
    status = await environments.status(platform, key.project, spec.runtime)
    if status is None or not spec.model or not spec.server.is_own:
        return status
    try:
        async with platform.database.read() as tx:
            version = await models.resolve(tx, key.project, naming.parse_model_ref(spec.model))
        artifact = downloads.choose(version, spec.artifact)
    except NotFound:
        return status
    return await environments.with_alternatives(platform, version, artifact, status)


def _last_failure(recent: tuple[Event, ...]) -> Failure | None:
    """The newest failure of a replica that was recorded, if nothing went well since."""
    for event in recent:
        if event.reason == "RolledOut":
            return None
        if event.reason == "ReplicaFailed":
            return _failure(event)
    return None


def _failure(event: Event) -> Failure:
    """What an event about a replica says, which is written `REASON: MESSAGE`."""
    reason, _, message = event.message.partition(": ")
    return Failure(reason=reason, message=message)
