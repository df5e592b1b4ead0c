"""Generations, idempotency keys, pages: how clients stay right when they repeat themselves or each other."""

from __future__ import annotations

import asyncio

import httpx2

from modelyard.domain.access import Role
from modelyard.store.tables import idempotency
from tests.api.requests import DEPLOYMENTS, MODELS, publish, require_problem
from tests.support.faces import Faces

PROJECTS = "/api/v1/projects"


async def test_a_change_based_on_an_old_generation_is_409_with_the_current_one(
    admin: httpx2.AsyncClient,
) -> None:
    await publish(admin)
    first = (await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})).json()["generation"]
    headers = {"if-match": f'"{first}"'}
    body = {"model": "churn@1", "replicas": 2}
    assert (await admin.put(f"{DEPLOYMENTS}/churn", json=body, headers=headers)).status_code == 200
    for method, path, stale in (
        ("PUT", f"{DEPLOYMENTS}/churn", {"model": "churn@1", "replicas": 3}),
        ("PATCH", f"{DEPLOYMENTS}/churn", {"replicas": 3}),
        ("POST", f"{DEPLOYMENTS}/churn/scale", {"replicas": 3}),
    ):
        problem = require_problem(await admin.request(method, path, json=stale, headers=headers), 409)
        assert problem["generation"] == first + 1
    assert (await admin.get(f"{DEPLOYMENTS}/churn")).json()["spec"]["replicas"] == 2


async def test_every_resource_that_can_be_replaced_keeps_generations(admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    await admin.put(f"{PROJECTS}/default/runtimes/small", json={"packages": ["numpy==2.0.0"]})
    stale = {"if-match": '"99"'}
    for method, path, body in (
        ("PUT", f"{PROJECTS}/default", {"description": "x"}),
        ("PUT", f"{PROJECTS}/default/runtimes/small", {"packages": ["numpy==2.1.0"]}),
        ("PATCH", f"{MODELS}/churn", {"description": "x"}),
        ("PATCH", f"{MODELS}/churn/versions/1", {"description": "x"}),
    ):
        problem = require_problem(await admin.request(method, path, json=body, headers=stale), 409)
        assert isinstance(problem["generation"], int), path


async def test_what_is_gone_or_the_same_has_a_generation_to_ask_for_too(admin: httpx2.AsyncClient) -> None:
    runtime, stale = f"{PROJECTS}/default/runtimes/small", {"if-match": '"3"'}
    body = {"packages": ["numpy==2.0.0"]}
    problem = require_problem(await admin.put(runtime, json=body, headers=stale), 409)
    assert (problem["generation"], "does not exist" in problem["detail"]) == (0, True)
    made = (await admin.put(runtime, json=body, headers={"if-match": '"0"'})).json()
    require_problem(await admin.put(runtime, json=body, headers=stale), 409)
    again = await admin.put(runtime, json=body, headers={"if-match": f'"{made["generation"]}"'})
    assert again.status_code == 200
    require_problem(await admin.put(f"{PROJECTS}/fraud", json={}, headers=stale), 409)


async def test_of_two_that_create_the_same_one_is_told_so(admin: httpx2.AsyncClient) -> None:
    calls = [admin.post(PROJECTS, json={"name": "fraud"}) for _ in range(5)]
    assert sorted(r.status_code for r in await asyncio.gather(*calls)) == [201, 409, 409, 409, 409]


async def test_a_put_again_changes_nothing(admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    first = await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})
    again = await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["generation"] == again.json()["generation"]
    assert first.json()["token"] == again.json()["token"] != ""


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    answer = await admin.put(f"{DEPLOYMENTS}/churn?dry_run=true", json={"model": "churn"})
    assert answer.status_code == 200
    assert "creates churn" in answer.json()["message"]
    require_problem(await admin.get(f"{DEPLOYMENTS}/churn"), 404)


async def test_a_patch_changes_what_it_names_and_null_takes_the_default(admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    spec = {"model": "churn@1", "env": {"A": "1", "B": "2"}, "queue_size": 5}
    await admin.put(f"{DEPLOYMENTS}/churn", json=spec)
    patch = {"env": {"A": None, "C": "3"}, "queue_size": None}
    after = (await admin.patch(f"{DEPLOYMENTS}/churn", json=patch)).json()["spec"]
    assert after["env"] == {"B": "2", "C": "3"}
    assert after["queue_size"] == 64


async def test_a_post_under_the_same_key_is_carried_out_once(admin: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "one"}
    first = await admin.post(PROJECTS, json={"name": "fraud"}, headers=headers)
    again = await admin.post(PROJECTS, json={"name": "fraud"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    require_problem(await admin.post(PROJECTS, json={"name": "fraud"}), 409)


async def test_a_key_that_was_used_for_another_request_is_refused(admin: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "one"}
    await admin.post(PROJECTS, json={"name": "fraud"}, headers=headers)
    require_problem(
        await admin.post(PROJECTS, json={"name": "other"}, headers=headers), 422, path="Idempotency-Key"
    )
    require_problem(await admin.post("/api/v1/users", json={"name": "fraud"}, headers=headers), 422)


async def test_a_failed_request_may_be_tried_again_under_its_key(admin: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "one"}
    body = {"name": "trial"}
    require_problem(await admin.post(f"{MODELS}/churn/versions/1/service", json=body, headers=headers), 404)
    await publish(admin)
    response = await admin.post(f"{MODELS}/churn/versions/1/service", json=body, headers=headers)
    assert response.status_code == 201


async def test_keys_of_different_users_do_not_meet(faces: Faces, admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    headers = {"idempotency-key": "one"}
    async with faces.http(await faces.member("ana", Role.DEVELOPER)) as ana:
        for client in (admin, ana):
            response = await client.post(f"{MODELS}/churn/versions/1/test", json={}, headers=headers)
            assert response.status_code == 200


async def test_no_answer_that_carries_a_secret_is_kept(faces: Faces, admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})
    headers = {"idempotency-key": "one"}
    first = (await admin.post("/api/v1/tokens", json={}, headers=headers)).json()["secret"]
    assert (await admin.post("/api/v1/tokens", json={}, headers=headers)).json()["secret"] != first
    for path, body in (
        (f"{DEPLOYMENTS}/churn/token", None), (f"{MODELS}/churn/versions/1/service", {"name": "trial"}),
        (f"{DEPLOYMENTS}/churn/copy", {"name": "copied"}), (f"{DEPLOYMENTS}/churn/restart", None),
    ):  # fmt: skip
        headers = {"idempotency-key": path[-100:]}
        assert (await admin.post(path, json=body, headers=headers)).status_code in (200, 201)
    async with faces.platform.database.read() as tx:
        kept = b"".join(row.body for row in await tx.rows(idempotency.select()))
    assert b"mys_" not in kept
    assert b"my" + b"u_" not in kept


async def test_requests_at_once_under_one_key_are_carried_out_once(admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})
    headers = {"idempotency-key": "one"}
    calls = [admin.post(f"{DEPLOYMENTS}/churn/restart", headers=headers) for _ in range(5)]
    answers = await asyncio.gather(*calls)
    assert {r.status_code for r in answers} == {200}
    assert len({r.json()["revision"] for r in answers}) == 1
    assert (await admin.get(f"{DEPLOYMENTS}/churn")).json()["revision"] == 2


async def test_a_key_that_is_too_long_is_refused(admin: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "k" * 1000}
    require_problem(
        await admin.post(PROJECTS, json={"name": "a"}, headers=headers), 422, path="Idempotency-Key"
    )


async def test_pages_hold_everything_once_and_in_order(admin: httpx2.AsyncClient) -> None:
    for number in range(7):
        await admin.post(PROJECTS, json={"name": f"p{number}"})
        await publish(admin)
    for path, field in ((PROJECTS, "name"), (f"{MODELS}/churn/versions", "version")):
        whole = [item[field] for item in (await admin.get(path)).json()["items"]]
        seen: list[str] = []
        after = ""
        while True:
            page = (await admin.get(path, params={"limit": 2, "after": after})).json()
            assert len(page["items"]) <= 2
            seen += [item[field] for item in page["items"]]
            after = page["next"]
            if not after:
                break
        assert seen == whole
        assert len(seen) >= 7


async def test_a_member_sees_only_their_projects_page_by_page(
    faces: Faces, admin: httpx2.AsyncClient
) -> None:
    secret = await faces.member("ana", Role.VIEWER, project="fraud")
    await admin.post(PROJECTS, json={"name": "other"})
    async with faces.http(secret) as ana:
        assert [p["name"] for p in (await ana.get(PROJECTS)).json()["items"]] == ["fraud"]
