"""Runtimes: the environments that models run in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from modelyard.api.answers import Items, page
from modelyard.api.idempotency import Idempotent
from modelyard.api.request import ActorDep, ExpectedDep, PagingDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import runtimes
from modelyard.domain.access import Verb
from modelyard.domain.runtime import Runtime, RuntimeKind, RuntimeSpec

router = APIRouter(prefix="/projects/{project}/runtimes", tags=["runtimes"], route_class=Idempotent)


@router.get("", openapi_extra=states(Verb.READ))
async def list_runtimes(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    paging: PagingDep,
    kind: Annotated[RuntimeKind | None, Query()] = None,
) -> Items[Runtime]:
    """All runtimes, or those of one kind; `host` is always there."""
    found = await runtimes.list(platform, actor, project, limit=paging.limit, after=paging.after)
    answer = page(found)
    return Items(tuple(each for each in answer.items if kind in (None, each.spec.kind)), answer.next)


@router.get("/{runtime}", openapi_extra=states(Verb.READ))
async def get_runtime(platform: PlatformDep, actor: ActorDep, project: str, runtime: str) -> Runtime:
    """One runtime with what is installed in it."""
    return await runtimes.get(platform, actor, project, runtime)


@router.put("/{runtime}", openapi_extra=states(Verb.DEPLOY))
async def apply_runtime(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    runtime: str,
    body: RuntimeSpec,
    expected: ExpectedDep,
) -> Runtime:
    """Create or replace a runtime; building begins at once."""
    return await runtimes.apply(platform, actor, project, runtime, body, expected=expected)


@router.post("/{runtime}/build", status_code=202, openapi_extra=states(Verb.DEPLOY))
async def build_runtime(platform: PlatformDep, actor: ActorDep, project: str, runtime: str) -> Runtime:
    """Build again, after a failure."""
    return await runtimes.build(platform, actor, project, runtime)


@router.delete("/{runtime}", status_code=204, openapi_extra=states(Verb.DEPLOY))
async def delete_runtime(platform: PlatformDep, actor: ActorDep, project: str, runtime: str) -> None:
    """Forget a runtime; refused while a deployment uses it."""
    await runtimes.delete(platform, actor, project, runtime)
