"""Secrets over HTTP: what is sent comes back in no answer, also not in one that refuses it."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest

from tests.api.requests import DEPLOYMENTS, publish, require_problem

SECRETS = "/api/v1/projects/default/secrets"
VALUE = "hunter2-in-clear"


def coded(value: bytes) -> str:
    return base64.b64encode(value).decode()


async def test_what_is_set_is_listed_without_values(admin: httpx2.AsyncClient) -> None:
    body = {"values": {"PASSWORD": VALUE}, "encoded": {"key.bin": coded(b"\xff\x00")}}
    made = await admin.patch(f"{SECRETS}/db", json=body)
    assert made.status_code == 200
    said = made.json()
    assert (said["keys"], said["binary"], said["changed_by"]) == (
        ["PASSWORD", "key.bin"],
        ["key.bin"],
        "admin",
    )
    assert (await admin.get(f"{SECRETS}/db")).json() == said
    assert (await admin.get(SECRETS)).json()["items"] == [said]
    replaced = await admin.put(f"{SECRETS}/db", json={"values": {"USER": "eve"}})
    assert (replaced.json()["keys"], replaced.json()["generation"]) == (["USER"], 2)
    stale = await admin.put(f"{SECRETS}/db", json={"values": {"A": VALUE}}, headers={"if-match": '"1"'})
    assert require_problem(stale, 409)["generation"] == 2
    assert (await admin.delete(f"{SECRETS}/db")).status_code == 204
    require_problem(await admin.get(f"{SECRETS}/db"), 404)
    require_problem(await admin.delete(f"{SECRETS}/db"), 404)
    events = (await admin.get("/api/v1/projects/default/events")).text
    assert "set PASSWORD, key.bin" in events
    for answer in (made.text, stale.text, events):
        assert VALUE not in answer


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "values"),
        ({"values": {"a b": VALUE}}, "values"),
        ({"values": {"": VALUE}}, "values"),
        ({"values": {"K": [VALUE]}}, "values.K"),
        ({"values": {"K": None}}, "values.K"),
        ({"values": VALUE}, "values"),
        ({"value": {"K": VALUE}}, "value"),
        ({"encoded": {"K": VALUE + "%"}}, "encoded.K"),
        ({"values": {"K": VALUE}, "encoded": {"K": coded(b"x")}}, "encoded.K"),
        ({"values": {"K": VALUE + "x" * (1 << 20)}}, "values"),
        ({"encoded": {"K": coded(VALUE.encode() + b"x" * (1 << 20))}}, "values"),
    ],
    ids=lambda given: str(given)[:40],
)
async def test_what_is_wrong_is_told_by_its_field_and_never_by_its_value(
    admin: httpx2.AsyncClient, body: dict[str, Any], path: str
) -> None:
    for method in ("PUT", "PATCH"):
        answer = await admin.request(method, f"{SECRETS}/db", json=body)
        require_problem(answer, 422, path=path)
        assert VALUE not in answer.text
    require_problem(await admin.get(f"{SECRETS}/db"), 404)


async def test_what_is_to_go_and_to_come_at_once_is_refused(admin: httpx2.AsyncClient) -> None:
    both = {"values": {"K": VALUE}, "remove": ["K"]}
    require_problem(await admin.patch(f"{SECRETS}/db", json=both), 422, path="remove.K")
    other = {"values": {"K": VALUE}, "remove": ["OTHER"]}
    require_problem(await admin.put(f"{SECRETS}/db", json=other), 422, path="remove")


async def test_text_that_is_none_and_json_that_is_none(admin: httpx2.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    lone = await admin.put(
        f"{SECRETS}/db", content=b'{"values": {"K": "\\ud800%s"}}' % VALUE.encode(), headers=headers
    )
    require_problem(lone, 422)
    torn = await admin.put(f"{SECRETS}/db", content=b'{"values": {"K": "%s' % VALUE.encode(), headers=headers)
    require_problem(torn, 400)
    for answer in (lone, torn):
        assert VALUE not in answer.text


async def test_a_deployment_names_what_there_is(admin: httpx2.AsyncClient) -> None:
    assert (await publish(admin)).status_code == 201
    spec = {"model": "churn@1", "env": {"PASSWORD": "{{secret.db.PASSWORD}}"}}
    require_problem(await admin.put(f"{DEPLOYMENTS}/churn", json=spec), 422, path="spec.env.PASSWORD")
    await admin.put(f"{SECRETS}/db", json={"values": {"PASSWORD": VALUE}})
    made = await admin.put(f"{DEPLOYMENTS}/churn", json=spec)
    assert made.status_code == 201
    assert made.json()["spec"]["env"] == spec["env"]
    assert VALUE not in made.text
    require_problem(await admin.delete(f"{SECRETS}/db"), 409)
    require_problem(await admin.patch(f"{SECRETS}/db", json={"remove": ["PASSWORD"]}), 409, 422)
    assert (await admin.delete(f"{SECRETS}/db", params={"force": "true"})).status_code == 204


async def test_a_project_with_secrets_is_not_empty(admin: httpx2.AsyncClient) -> None:
    assert (await admin.post("/api/v1/projects", json={"name": "full"})).status_code == 201
    await admin.put("/api/v1/projects/full/secrets/db", json={"values": {"K": VALUE}})
    assert "still has secrets" in require_problem(await admin.delete("/api/v1/projects/full"), 409)["detail"]
    require_problem(await admin.put("/api/v1/projects/none/secrets/db", json={"values": {"K": "x"}}), 404)
