"""Endpoints and events of a project."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Depends, Header, Query, Response
from pydantic import TypeAdapter

from modelyard.api import merge, sse
from modelyard.api.answers import Items, everything
from modelyard.api.idempotency import Idempotent
from modelyard.api.request import ActorDep, ExpectedDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import endpoints, journal
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Verb
from modelyard.domain.deployment import Key
from modelyard.domain.endpoint import Endpoint
from modelyard.domain.event import Event
from modelyard.domain.traffic_spec import EndpointSpec

router = APIRouter(prefix="/projects/{project}", tags=["endpoints"], route_class=Idempotent)
_EVENT = TypeAdapter(Event)


def _key(project: str, endpoint: str) -> Key:
    return Key.parse(endpoint, project=project, path="endpoint")


KeyDep = Annotated[Key, Depends(_key)]
_POLL_SECONDS = 0.5


@router.get("/endpoints", openapi_extra=states(Verb.READ))
async def list_endpoints(platform: PlatformDep, actor: ActorDep, project: str) -> Items[Endpoint]:
    """Where services answer, and how often they did."""
    return everything(await endpoints.list(platform, actor, project))


@router.get("/endpoints/{endpoint}", openapi_extra=states(Verb.READ))
async def get_endpoint(platform: PlatformDep, actor: ActorDep, key: KeyDep) -> Endpoint:
    """Where one service answers, and how its requests are divided now."""
    return await endpoints.get(platform, actor, key)


@router.put("/endpoints/{endpoint}", openapi_extra=states(Verb.OPERATE))
async def apply_endpoint(
    platform: PlatformDep, actor: ActorDep, key: KeyDep, body: EndpointSpec, expected: ExpectedDep
) -> Endpoint:
    """Say how the service's requests are divided; an empty document lets it answer all itself."""
    return await endpoints.apply(platform, actor, key, body, expected=expected)


@router.patch("/endpoints/{endpoint}", openapi_extra=states(Verb.OPERATE))
async def patch_endpoint(
    platform: PlatformDep,
    actor: ActorDep,
    key: KeyDep,
    body: Annotated[dict[str, Any], Body()],
    expected: ExpectedDep,
) -> Endpoint:
    """Merge changes into the spec (RFC 7396)."""
    current = await endpoints.get(platform, actor, key)
    generation = current.generation if expected is None else expected
    spec = merge.patched(current.spec, body)
    return await endpoints.apply(platform, actor, key, spec, expected=generation)


@router.get("/events", openapi_extra=states(Verb.READ), response_model=Items[Event])
async def list_events(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    kind: Annotated[str, Query(max_length=100)] = "",
    name: Annotated[str, Query(max_length=300)] = "",
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    accept: Annotated[str, Header()] = "",
) -> Response | Items[Event]:
    """What happened, newest first; with `Accept: text/event-stream` what comes after `after`, for ever."""
    if "text/event-stream" in accept:
        first = await journal.of_project(platform, actor, project, limit=1)
        start = after or (first[0].id if first else 0)
        return sse.stream(_followed(platform, actor, project, start))
    found = await journal.of_project(platform, actor, project, kind=kind, name=name, after=after, limit=limit)
    return everything(found)


async def _followed(
    platform: Platform, actor: Actor, project: str, after: int
) -> AsyncIterator[dict[str, Any]]:
    while True:
        found = await journal.of_project(platform, actor, project, after=after, newest_first=False)
        for event in found:
            after = event.id
            yield orjson.loads(_EVENT.dump_json(event))
        if not found:
            await asyncio.sleep(_POLL_SECONDS)
