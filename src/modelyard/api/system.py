"""Health, metrics, nodes, and what this installation is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response

from modelyard.api.answers import Items, everything
from modelyard.api.request import ActorDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import nodes, system, tasks
from modelyard.domain import wire
from modelyard.domain.access import Verb
from modelyard.domain.node import Node
from modelyard.domain.queue import Queued
from modelyard.domain.views import System

router = APIRouter(tags=["system"])
health = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """What a machine may be used for."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    classes: tuple[str, ...]
    """`control`, `compute`, `deploy`, or several of them."""


@router.get("/system", openapi_extra=states(Verb.READ))
async def describe(platform: PlatformDep, actor: ActorDep) -> System:
    """Version, address, and what this mode enforces."""
    return await system.describe(platform, actor)


@router.get("/nodes", openapi_extra=states(Verb.READ))
async def list_nodes(platform: PlatformDep, actor: ActorDep) -> Items[Node]:
    """The machines, with capacity and GPUs."""
    return everything(await nodes.list(platform, actor))


@router.get("/nodes/{name}", openapi_extra=states(Verb.READ))
async def get_node(platform: PlatformDep, actor: ActorDep, name: str) -> Node:
    """One machine: what it has, what is reserved, and who holds which GPU."""
    return await nodes.get(platform, actor, name)


@router.put("/nodes/{name}/classes", openapi_extra=states(Verb.ADMINISTER))
async def classify_node(platform: PlatformDep, actor: ActorDep, name: str, body: Classes) -> Node:
    """Say what a machine of a cluster may be used for."""
    return await nodes.classify(platform, actor, name, body.classes)


@router.get("/queue", openapi_extra=states(Verb.READ))
async def list_queue(platform: PlatformDep, actor: ActorDep) -> Items[Queued]:
    """Models that are validated and tested now, and those that wait for their turn, with why."""
    return everything(await tasks.list(platform, actor))


@health.get("/livez", openapi_extra=states(Verb.ANYONE))
@health.get("/healthz", openapi_extra=states(Verb.ANYONE))
async def live() -> dict[str, str]:
    """The control plane runs."""
    return {"status": "ok"}


@health.get("/readyz", openapi_extra=states(Verb.ANYONE))
async def ready(platform: PlatformDep) -> dict[str, str]:
    """The control plane can read its records."""
    await system.check(platform)
    return {"status": "ready"}


@health.get("/metrics", openapi_extra=states(Verb.ANYONE))
async def metrics(request: Request) -> Response:
    """The platform's metrics and those of every service, in the Prometheus text format."""
    body, kind = await request.app.state.exposition()
    return Response(body, media_type=kind)
