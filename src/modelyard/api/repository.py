"""The Open Inference Protocol's repository index for the whole platform: the default project's services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body

from modelyard.api.request import ActorDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import deployments
from modelyard.domain.access import Verb
from modelyard.domain.deployment import Stage
from modelyard.domain.views import DeploymentView, State
from modelyard.gateway.routes import DEFAULT_PROJECT

router = APIRouter(include_in_schema=False)
_PAGE = 1000
_STATES = {
    State.RUNNING: "READY",
    State.DEGRADED: "READY",
    State.PENDING: "LOADING",
    State.STARTING: "LOADING",
    State.DELETING: "UNLOADING",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One service as Triton's clients read it."""

    name: str
    version: str
    state: str
    reason: str


@router.post("/v2/repository/index", openapi_extra=states(Verb.READ))
async def index(
    platform: PlatformDep, actor: ActorDep, body: Annotated[dict[str, Any] | None, Body()] = None
) -> list[Entry]:
    """Services that answer at `/v2/models/NAME`; with `{"ready": true}` only those that do so now."""
    entries: list[Entry] = []
    after = ""
    while True:
        page = await deployments.list(platform, actor, DEFAULT_PROJECT, limit=_PAGE, after=after)
        entries += [entry_of(each) for each in page.items if each.stage is Stage.PRODUCTION]
        if not page.next:
            break
        after = page.next
    only_ready = (body or {}).get("ready") is True
    return [entry for entry in entries if entry.state == "READY" or not only_ready]


def entry_of(deployment: DeploymentView) -> Entry:
    """A service in the words of the protocol; one with a ready replica answers, whatever else it does."""
    state = _STATES.get(deployment.state, "UNAVAILABLE")
    if deployment.status.ready_replicas:
        state = "READY" if state != "UNLOADING" else state
    version = deployment.spec.model.replace(":", "@", 1).partition("@")[2]
    reason = "" if state == "READY" else deployment.message
    return Entry(name=deployment.name, version=version, state=state, reason=reason)
