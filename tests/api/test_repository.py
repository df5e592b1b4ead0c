"""The index of services, as Triton's clients ask for it at the front door."""

from __future__ import annotations

import dataclasses

import httpx2
import pytest

from modelyard.api.repository import entry_of
from modelyard.control import deployments
from modelyard.domain.access import Actor, Role
from modelyard.domain.deployment import Key
from modelyard.domain.views import State
from tests.api.requests import DEPLOYMENTS, publish
from tests.support.faces import Faces

INDEX = "/v2/repository/index"


@pytest.fixture
async def deployed(admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    for name in ("churn", "churn@test", "other"):
        answer = await admin.put(f"{DEPLOYMENTS}/{name}", json={"model": "churn@1"})
        assert answer.status_code == 201, answer.text


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("content", [None, "{}"])
async def test_services_that_answer_by_model_name_are_listed(
    admin: httpx2.AsyncClient, content: str | None
) -> None:
    answer = await admin.post(INDEX, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert [(entry["name"], entry["version"]) for entry in answer.json()] == [("churn", "1"), ("other", "1")]
    assert {entry["state"] for entry in answer.json()} <= {"LOADING", "UNAVAILABLE"}
    assert (await admin.post(INDEX, json={"ready": True})).json() == []


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("state", "ready", "said"),
    [
        (State.RUNNING, 1, "READY"),
        (State.STARTING, 0, "LOADING"),
        (State.STARTING, 1, "READY"),
        (State.FAILED, 1, "READY"),
        (State.FAILED, 0, "UNAVAILABLE"),
        (State.OFFLINE, 0, "UNAVAILABLE"),
        (State.DELETING, 1, "UNLOADING"),
    ],
)
async def test_the_state_is_whether_somebody_answers(
    faces: Faces, state: State, ready: int, said: str
) -> None:
    admin = Actor(name="admin", administrator=True)
    view = await deployments.get(faces.platform, admin, Key.parse("churn", project="default"))
    status = dataclasses.replace(view.status, ready_replicas=ready)
    entry = entry_of(dataclasses.replace(view, state=state, status=status, message="why"))
    assert entry.state == said
    assert entry.reason == ("" if said == "READY" else "why")


@pytest.mark.usefixtures("deployed")
async def test_only_who_may_read_the_project_sees_it(faces: Faces) -> None:
    stranger = await faces.member("stranger", Role.OWNER, project="elsewhere")
    async with faces.http(stranger) as client:
        refused = await client.post(INDEX)
    assert refused.status_code in (403, 404)
    assert refused.json()["error"] == refused.json()["detail"]
    async with faces.http() as client:
        assert (await client.post(INDEX)).status_code == 401
