"""Every route states what it lets an actor do, and lets nobody else do it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from modelyard.api.verbs import KEY
from modelyard.domain.access import PERMITTED, Role, Verb
from tests.api.requests import DEPLOYMENTS, SIGNATURE, SOURCE, multipart, publish, require_problem
from tests.support.faces import Faces

PLACES = {
    "project": "default",
    "model": "churn",
    "version": "1",
    "artifact": "model",
    "path": "model.py",
    "alias": "champion",
    "runtime": "host",
    "secret": "db",
    "deployment": "churn",
    "endpoint": "churn",
    "user": "admin",
    "token": "id-of-a-token",
    "shell": "id-of-a-shell",
    "name": "memory",
}
BODIES: dict[str, Any] = {
    "create_project": {"name": "fresh"},
    "apply_project": {"description": "changed"},
    "put_member": {"role": "viewer"},
    "update_model": {"description": "changed"},
    "update_version": {"description": "changed"},
    "set_alias": {"version": "1"},
    "test_version": {},
    "publish_to_service": {"name": "other"},
    "replace_secret": {"values": {"PASSWORD": "changed"}},
    "change_secret": {"values": {"PASSWORD": "changed"}},
    "apply_runtime": {"packages": ["numpy==1.26.4"]},
    "apply_deployment": {"model": "churn@1"},
    "patch_deployment": {"replicas": 2},
    "scale_deployment": {"replicas": 2},
    "roll_back_deployment": {},
    "copy_deployment": {"name": "other"},
    "classify_node": {"classes": ["deploy"]},
    "put_certificate": {"certificate": "", "key": ""},
    "open_shell": {"command": ["true"]},
    "resize_shell": {"rows": 24, "columns": 80},
    "plan_deployment": {"model": "churn@1"},
    "promote_deployment": {},
    "apply_endpoint": {},
    "patch_endpoint": {},
    "create_user": {"name": "eve"},
    "update_user": {"disabled": True},
    "create_token": {"user": "admin"},
    "make_login_link": {"user": "admin"},
}


@dataclass(frozen=True, slots=True)
class Stated:
    """A route with its whole path and what it says it needs."""

    name: str
    method: str
    path: str
    verb: Verb | None


def routes(app: FastAPI) -> list[Stated]:
    """Every route there is, also those that the schema does not show."""
    found = []
    for context in iter_route_contexts(app.routes):
        verb = (getattr(context, "openapi_extra", None) or {}).get(KEY)
        for method in (context.methods or set()) - {"HEAD"}:
            found.append(Stated(context.name, method, context.path, Verb(verb) if verb else None))
    return found


async def call(client: httpx2.AsyncClient, route: Stated) -> httpx2.Response:
    """A sound request to a route, as far as anybody may make it."""
    path = re.sub(r"{(\w+)(?::path)?}", lambda match: PLACES[match[1]], route.path)
    if route.name == "publish_version":
        parts = multipart({"name": "churn", "signature": SIGNATURE}, {"model.py": SOURCE})
        return await client.request(route.method, path, files=parts)
    return await client.request(route.method, path, json=BODIES.get(route.name))


@pytest.fixture
async def full(faces: Faces, admin: httpx2.AsyncClient) -> Faces:
    """With a model, a deployment and an alias that somebody could want to reach."""
    assert (await publish(admin)).status_code == 201
    assert (await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})).status_code == 201
    made = await admin.put("/api/v1/projects/default/secrets/db", json={"values": {"PASSWORD": "x"}})
    assert made.status_code == 200
    return faces


def test_every_route_states_its_verb_except_the_schema_itself(faces: Faces) -> None:
    silent = [route.path for route in routes(faces.app) if route.verb is None]
    assert silent == ["/api/openapi.json"]
    assert len(routes(faces.app)) > 60


def test_only_health_login_and_the_consoles_files_are_open_to_all(faces: Faces) -> None:
    assert {r.path for r in routes(faces.app) if r.verb is Verb.ANYONE} == {
        "/", "/assets/{name}", "/login/{secret}", "/api/docs", "/healthz", "/livez", "/readyz", "/metrics",
        "/api/v1/login", "/api/v1/logout", "/api/v1/certificate/ca",
        "/api/v1/artifacts/{sha256}",  # pods bring tokens of their own kind
    }  # fmt: skip


async def test_without_a_token_every_other_route_answers_401(full: Faces) -> None:
    async with full.http() as anonymous:
        for route in routes(full.app):
            if route.verb not in (None, Verb.ANYONE):
                response = await call(anonymous, route)
                assert response.status_code == 401, f"{route.method} {route.path}: {response.text}"
                require_problem(response, 401)
                assert response.headers["www-authenticate"] == "Bearer"


async def test_a_member_of_another_project_reaches_nothing_in_this_one(full: Faces) -> None:
    stranger = await full.member("stranger", Role.OWNER, project="elsewhere")
    async with full.http(stranger) as client:
        for route in routes(full.app):
            if "{project}" in route.path:
                response = await call(client, route)
                assert response.status_code in (403, 404), f"{route.method} {route.path}: {response.text}"
                require_problem(response, 403, 404)


async def test_a_member_of_another_project_changes_nothing_of_the_platform_or_of_others(full: Faces) -> None:
    stranger = await full.member("stranger", Role.OWNER, project="elsewhere")
    refused = set()
    async with full.http(stranger) as client:
        for route in routes(full.app):
            theirs = route.verb is Verb.SELF and ("{user}" in route.path or route.name in BODIES)
            if route.verb is Verb.ADMINISTER or theirs:
                require_problem(await call(client, route), 403)
                refused.add(route.verb)
    assert refused == {Verb.ADMINISTER, Verb.SELF}


async def test_a_role_may_do_what_its_verbs_say_and_nothing_else(full: Faces) -> None:
    refused = set()
    for role in Role:
        async with full.http(await full.member(role.value, role)) as client:
            for route in routes(full.app):
                verb = route.verb
                if "{project}" in route.path and verb not in PERMITTED[role]:
                    require_problem(await call(client, route), 403)
                    refused.add(role)
    assert refused == {*Role}


async def test_a_limited_token_may_do_only_what_it_is_limited_to(full: Faces) -> None:
    async with full.http(await full.secret("admin", scope=(Verb.INFER,))) as client:
        for route in routes(full.app):
            if route.verb not in (None, Verb.ANYONE, Verb.INFER) and route.name != "whoami":
                require_problem(await call(client, route), 403)
        assert (await client.get(f"{DEPLOYMENTS}/churn/token")).status_code == 200


async def test_what_a_role_may_read_it_can_read(full: Faces) -> None:
    async with full.http(await full.member("vera", Role.VIEWER)) as client:
        for route in routes(full.app):
            reads = route.verb is Verb.READ and route.name not in ("get_project",)
            if reads and "events" not in route.path:
                response = await call(client, route)
                assert response.status_code == 200, f"{route.path}: {response.text}"


async def test_every_denied_attempt_is_recorded(full: Faces, admin: httpx2.AsyncClient) -> None:
    async with full.http(await full.member("vera", Role.VIEWER)) as client:
        require_problem(await client.delete(f"{DEPLOYMENTS}/churn"), 403)
    events = (await admin.get("/api/v1/projects/default/events", params={"limit": 5})).json()["items"]
    assert ("Denied", "vera", "churn") in {(e["reason"], e["actor"], e["name"]) for e in events}


async def test_the_installation_says_what_it_enforces_as_its_backend_knows_it(
    faces: Faces, admin: httpx2.AsyncClient
) -> None:
    answer = (await admin.get("/api/v1/system")).json()
    assert answer["enforcement"] == faces.backend.enforcement() != {}
