"""Whatever a client gets wrong is answered with where it is wrong and what to do, and never with a 5xx."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from modelyard.backends.memory import ManualClock
from modelyard.domain.access import Role, Verb
from tests.api.requests import DEPLOYMENTS, MODELS, multipart, publish, require_problem
from tests.support.faces import Faces

NAMES = [
    pytest.param("", id="empty"),
    pytest.param("a" * 300, id="300 characters"),
    pytest.param("../etc/passwd", id="path"),
    pytest.param("ch\u0443rn", id="Cyrillic look-alike"),
    pytest.param("Churn", id="upper case"),
    pytest.param("churn ", id="blank"),
    pytest.param("-churn", id="hyphen first"),
    pytest.param("a\nb", id="line break"),
]
DEEP = b"[" * 100_000 + b"]" * 100_000
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_is_none_is_refused_wherever_one_is_given(
    admin: httpx2.AsyncClient, name: str
) -> None:
    assert (await publish(admin)).status_code == 201
    assert (await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})).status_code == 201
    require_problem(await admin.post("/api/v1/projects", json={"name": name}), 422, path="name")
    require_problem(await admin.post("/api/v1/users", json={"name": name}), 422, path="name")
    require_problem(await publish(admin, name), 422, path="name")
    require_problem(await admin.post(f"{DEPLOYMENTS}/churn/copy", json={"name": name}), 422, path="name")
    service = await admin.post(f"{MODELS}/churn/versions/1/service", json={"name": name})
    if name:
        require_problem(service, 422, path="name")


@pytest.mark.parametrize(
    "name", ["%20", "Churn", "a" * 300, "ch%D1%83rn", "..%2fetc", "a@nostage", "%ff", "a%0ab"]
)
async def test_a_name_in_the_address_that_is_none_is_refused(admin: httpx2.AsyncClient, name: str) -> None:
    require_problem(await admin.put(f"{DEPLOYMENTS}/{name}", json={"model": "churn@1"}), 404, 422)
    require_problem(await admin.put(f"/api/v1/projects/{name}", json={}), 404, 422)
    require_problem(await admin.put(f"/api/v1/projects/default/runtimes/{name}", json={}), 404, 422)
    require_problem(await admin.get(f"{MODELS}/{name}"), 404)
    require_problem(await admin.get(f"{MODELS}/{name}/versions/latest"), 404)


@pytest.mark.parametrize(
    ("network", "path"),
    [
        ({"isolated": True, "allow_projects": ["default"]}, "spec.network.allow_projects[0]"),
        ({"isolated": True, "allow_projects": ["nobody"]}, "spec.network.allow_projects[0]"),
        ({"isolated": True, "allow_namespaces": ["ok", "Not_One"]}, "spec.network.allow_namespaces[1]"),
        ({"allow_namespaces": ["monitoring"]}, "spec.network.allow_namespaces"),
        ({"isolated": "perhaps"}, "network.isolated"),
        ({"isolated": True, "allow_projects": "fraud"}, "network.allow_projects"),
        ({"isolate": True}, "network.isolate"),
        (True, "network"),
    ],
)
async def test_a_network_that_is_none_is_refused_by_field(
    admin: httpx2.AsyncClient, network: Any, path: str
) -> None:
    answer = await admin.put("/api/v1/projects/default", json={"network": network})
    require_problem(answer, 422, path=path)
    assert not (await admin.get("/api/v1/projects/default/network")).json()["isolated"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"replicas": -1}, "spec.replicas"),
        ({"replicas": 10**30}, "replicas"),
        ({"replicas": 1.5}, "replicas"),
        ({"replicas": "many"}, "replicas"),
        ({"replicas": None}, "replicas"),
        ({"resources": {"cpu": "-1"}}, "resources.cpu"),
        ({"resources": {"cpu": 1}}, "resources.cpu"),
        ({"resources": {"memory": "1e9Gi"}}, "resources.memory"),
        ({"resources": {"memory": "1GB"}}, "resources.memory"),
        ({"resources": {"gpu": "0.5"}}, "spec.resources.gpu"),
        ({"resources": {"gpu": "1(T4"}}, "spec.resources.gpu"),
        ({"resources": {"gpus": "1"}}, "resources.gpus"),
        ({"resources": []}, "resources"),
        ({"address": {"host": "Churn.example"}}, "spec.address.host"),
        ({"address": {"host": "*.example"}}, "spec.address.host"),
        ({"address": {"host": "localhost"}}, "spec.address.host"),
        ({"address": {"host": "x.other.service.localhost"}}, "spec.address.host"),
        ({"address": {"second_port": True}}, "spec.address.second_port"),
        ({"address": {"own_port": True, "third_port": True}}, "address.third_port"),
        ({"env": {"A=B": "1"}}, "spec.env.'A=B'"),
        ({"env": {"MODELYARD_TOKEN": "1"}}, "spec.env.MODELYARD_TOKEN"),
        ({"env": {"A": 1}}, "env.A"),
        ({"config_files": {"../x": ""}}, "spec.config_files.'../x'"),
        ({"start_timeout_seconds": -1}, "spec.start_timeout_seconds"),
        ({"drain_seconds": 1e300}, "spec.drain_seconds"),
        ({"queue_size": 0}, "spec.queue_size"),
        ({"workers": 0}, "spec.workers"),
        ({"batch": "always"}, "spec.batch"),
        ({"batch_max_rows": 0}, "spec.batch_max_rows"),
        ({"batch_max_delay_ms": -1}, "spec.batch_max_delay_ms"),
        ({"latency_slo_ms": 1e9}, "spec.latency_slo_ms"),
        ({"cache": "64MB"}, "spec.cache"),
        ({"retry": "often"}, "retry"),
        ({"warmup": "hot"}, "spec.warmup"),
        ({"replica": 1}, "replica"),
        ({"model": "churn@9"}, ""),
        ({"model": "churn@@"}, "spec.model"),
        ({"model": ""}, "spec.model"),
        ({"model": 1}, "model"),
        ({"runtime": "../x"}, ""),
        ({"artifact": "other"}, ""),
    ],
)
async def test_a_wrong_spec_is_refused_with_the_field(
    admin: httpx2.AsyncClient, spec: dict[str, Any], path: str
) -> None:
    await publish(admin)
    for method, body in (("PUT", {"model": "churn@1", **spec}), ("PATCH", spec)):
        if method == "PATCH":
            await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})
            if None in spec.values() and "model" not in spec:
                continue
        response = await admin.request(method, f"{DEPLOYMENTS}/churn", json=body)
        require_problem(response, 404, 422, path=path)


async def test_null_is_no_model_and_a_patch_with_it_takes_the_model_away(
    admin: httpx2.AsyncClient,
) -> None:
    await publish(admin)
    await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})
    for method, path in (("PUT", "model"), ("PATCH", "spec.model")):
        response = await admin.request(method, f"{DEPLOYMENTS}/churn", json={"model": None})
        require_problem(response, 422, path=path)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"server": {"kind": "apache"}}, "server.kind"),
        ({"server": {"kind": "serving", "command": "x", "ports": [1, 2, 3]}}, "spec.server.ports[2]"),
        ({"server": {"kind": "serving", "command": ["", "x"]}}, "spec.server.command[0]"),
        ({"server": {"cmd": "x"}}, "server.cmd"),
        ({"health": {"readiness": {"http": "x"}}}, "spec.health.readiness.http"),
        ({"mounts": [{"kind": "memory", "path": "x"}]}, "spec.mounts[0].path"),
        ({"mounts": [{"kind": "memory", "path": "/x", "size": "1Q"}]}, "spec.mounts[0].size"),
        ({"mounts": [{"kind": "config", "path": "/etc/x"}]}, "spec.mounts[0].source"),
        (
            {"mounts": [{"kind": "config", "path": "/x", "source": "b"}], "config_files": {"a": ""}},
            "spec.mounts[0].source",
        ),
        (
            {"server": {"kind": "vllm"}, "mounts": [{"kind": "config", "path": "/x", "source": "b"}]},
            "spec.mounts[0].source",
        ),
        ({"metrics": "9000"}, "spec.metrics"),
        ({"config": "x"}, "spec.config"),
        ({"config": "---../x\n1"}, "spec.config"),
    ],
)
async def test_a_wrong_server_is_refused_with_the_field(
    admin: httpx2.AsyncClient, spec: dict[str, Any], path: str
) -> None:
    await publish(admin)
    response = await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1", **spec})
    require_problem(response, 422, path=path)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"nothing", b'{"name": NaN}', b'{"name": -Infinity}', b'{"name": "a\\u0000b"}',
        b'"\\ud800"',
        b'{"name": "\xff"}', DEEP, b'{"spec": ' + DEEP + b"}", b"[" * 900 + b"]" * 900, b"null", b"[]", b"1",
    ],
    ids=lambda content: repr(content[:30]),
)  # fmt: skip
async def test_what_is_not_a_json_object_is_refused(admin: httpx2.AsyncClient, content: bytes) -> None:
    for path in ("/api/v1/projects", "/api/v1/users", "/api/v1/tokens", "/api/v1/login"):
        body = require_problem(await admin.post(path, content=content, headers=JSON), 400, 422)
        assert body["errors"], body
    await publish(admin)
    path = f"{MODELS}/churn/versions/1/test"
    for method, url in (("PUT", f"{DEPLOYMENTS}/churn"), ("PATCH", f"{DEPLOYMENTS}/churn"), ("POST", path)):
        require_problem(await admin.request(method, url, content=content, headers=JSON), 400, 404, 422)


async def test_an_open_field_refuses_what_no_json_can_carry_back(admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    version = f"{MODELS}/churn/versions/1"
    for value in (b"NaN", b"[" * 300 + b"]" * 300, b'"\\ud800"', b'"\\u0000"'):
        content = b'{"metrics": {"a": %b}}' % value
        require_problem(await admin.patch(version, content=content, headers=JSON), 400, 422)
    assert (await admin.patch(version, json={"metrics": {"auc": 1e308, "n": 10**18}})).status_code == 200


async def test_another_media_type_is_refused_with_what_is_expected(admin: httpx2.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml", ""):
        response = await admin.post(
            "/api/v1/projects", content=b'{"name": "a"}', headers={"content-type": kind}
        )
        require_problem(response, 415, 422)


async def test_a_body_larger_than_any_document_is_not_kept_in_memory(admin: httpx2.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(10_000):
            yield b" " * 1_000_000

    response = await admin.post("/api/v1/projects", content=endless(), headers=JSON)
    require_problem(response, 413)


@pytest.mark.parametrize(
    "path",
    [
        f"{MODELS}/nothing", f"{MODELS}/churn/versions/9", f"{MODELS}/churn/versions/nope",
        f"{MODELS}/churn/versions/99999999999999999999999", f"{MODELS}/churn/versions/-1",
        f"{MODELS}/churn/versions/1/artifacts/other",
        f"{MODELS}/churn/versions/1/artifacts/model/files/no.py",
        f"{DEPLOYMENTS}/nothing", f"{DEPLOYMENTS}/nothing/logs", f"{DEPLOYMENTS}/nothing/token",
        "/api/v1/projects/nothing", "/api/v1/projects/nothing/models", "/api/v1/projects/nothing/endpoints",
        "/api/v1/projects/nothing/runtimes/host", f"{MODELS}/", f"{DEPLOYMENTS}/churn/",
        "/api/v1/projects/default/runtimes/nothing", "/api/v1/users/nothing", "/api/v1/nothing", "/nothing",
    ],
)  # fmt: skip
async def test_what_does_not_exist_is_404(admin: httpx2.AsyncClient, path: str) -> None:
    await publish(admin)
    require_problem(await admin.get(path), 404)


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd",
        "%2fetc%2fpasswd", "model.py/../../x", "..\\..\\x", "model.py%00.txt", "%c0%ae%c0%ae/x", ".", "",
    ],
)  # fmt: skip
async def test_no_path_leads_out_of_an_artifact_or_out_of_the_consoles_files(
    admin: httpx2.AsyncClient, path: str
) -> None:
    await publish(admin)
    for base in (f"{MODELS}/churn/versions/1/artifacts/model/files", "/assets"):
        response = await admin.send(admin.build_request("GET", f"{base}/{path}"))
        assert response.status_code in (400, 404, 422), f"{response.status_code} {response.text[:200]}"
        assert "root:" not in response.text


async def test_a_wrong_query_is_refused_with_its_name(admin: httpx2.AsyncClient) -> None:
    events = "/api/v1/projects/default/events"
    for query, path in (
        ("limit=0", "limit"), ("limit=-1", "limit"), ("limit=many", "limit"), ("limit=1000000", "limit"),
        (f"after={10**30}", "after"), ("after=-1", "after"), ("kind=" + "k" * 500, "kind"),
    ):  # fmt: skip
        require_problem(await admin.get(f"{events}?{query}"), 422, path=path)
    await publish(admin)
    for query in ("after=x", f"after={10**30}", "after=%00", "limit=%00"):
        require_problem(await admin.get(f"{MODELS}/churn/versions?{query}"), 400, 422)
    await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})
    for query in ("tail=-1", "tail=1000000000", "follow=perhaps"):
        require_problem(await admin.get(f"{DEPLOYMENTS}/churn/logs?{query}"), 422, path=query.split("=")[0])
    require_problem(await admin.get(f"{DEPLOYMENTS}/churn/history?after=x"), 422, path="after")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"inputs": {}, "rows": []}, "rows"),
        ({"inputs": [1]}, "inputs"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"timeout_seconds": "soon"}, "timeout_seconds"),
        ({"memory": "1e9Gi"}, "memory"),
        ({"gpu": "0.5"}, "gpu"),
        ({"artifact": "other"}, ""),
        ({"runtime": "nothing"}, ""),
        ({"data": []}, "data"),
    ],
)
async def test_a_wrong_test_request_is_refused(
    admin: httpx2.AsyncClient, body: dict[str, Any], path: str
) -> None:
    await publish(admin)
    require_problem(await admin.post(f"{MODELS}/churn/versions/1/test", json=body), 404, 422, path=path)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "x",
        "myu_",
        "myu_" + "A" * 43,
        "myw_" + "A" * 43,
        "mys_" + "A" * 43,
        "a" * 100_000,
        "Basic abc",
        "a b c",
    ],
    ids=lambda secret: secret[:20] or "empty",
)
async def test_a_malformed_or_unknown_token_is_401_and_never_repeated(faces: Faces, secret: str) -> None:
    async with faces.http() as client:
        for headers in (
            {"authorization": f"Bearer {secret}"},
            {"x-api-key": secret},
            {"cookie": f"modelyard_session={secret}"},
        ):
            response = await client.get("/api/v1/projects", headers=headers)
            require_problem(response, 401)
            assert len(secret) < 9 or secret not in response.text


async def test_a_token_that_expired_or_was_revoked_is_401(faces: Faces, clock: ManualClock) -> None:
    limited, revoked = await faces.secret(days=1), await faces.secret()
    async with faces.http(limited) as client, faces.http(revoked) as other:
        assert (await client.get("/api/v1/whoami")).status_code == 200
        tokens = (await client.get("/api/v1/tokens")).json()["items"]
        mine = next(t for t in tokens if t["expires_at"] is None)
        assert (await client.delete(f"/api/v1/tokens/{mine['id']}")).status_code == 204
        require_problem(await other.get("/api/v1/whoami"), 401)
        clock.advance(86_401)
        require_problem(await client.get("/api/v1/whoami"), 401)


async def test_a_services_token_opens_no_api(faces: Faces, admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    token = (await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})).json()["token"]
    assert token.startswith("mys_")
    async with faces.http(token) as client:
        require_problem(await client.get(DEPLOYMENTS), 401)


async def test_a_disabled_users_tokens_stop_working(faces: Faces, admin: httpx2.AsyncClient) -> None:
    secret = await faces.member("ana", Role.DEVELOPER)
    assert (await admin.patch("/api/v1/users/ana", json={"disabled": True})).status_code == 200
    async with faces.http(secret) as client:
        require_problem(await client.get("/api/v1/whoami"), 401)


async def test_headers_that_other_proxies_trust_give_nobody_a_name(faces: Faces) -> None:
    forged = {
        "x-forwarded-user": "admin", "x-remote-user": "admin", "x-modelyard-user": "admin",
        "remote-user": "admin",
        "x-forwarded-for": "127.0.0.1", "x-original-url": "/healthz", "x-http-method-override": "GET",
        "forwarded": "for=127.0.0.1",
    }  # fmt: skip
    async with faces.http() as client:
        require_problem(await client.get("/api/v1/users", headers=forged), 401)


async def test_a_request_id_is_kept_when_it_is_one_and_replaced_when_it_is_not(
    admin: httpx2.AsyncClient,
) -> None:
    assert (await admin.get("/healthz", headers={"x-request-id": "mine-1"})).headers[
        "x-request-id"
    ] == "mine-1"
    for odd in ("a b", "a\tb", "x" * 500, "<script>"):
        answered = (await admin.get("/healthz", headers={"x-request-id": odd})).headers["x-request-id"]
        assert answered
        assert answered != odd


async def test_a_wrong_generation_header_is_refused(admin: httpx2.AsyncClient) -> None:
    await publish(admin)
    for text in ("three", '"x"', "-1", "1" * 40, '"1", "2"'):
        response = await admin.patch(f"{MODELS}/churn", json={"description": "x"}, headers={"if-match": text})
        require_problem(response, 422, path="If-Match")


async def test_a_method_that_a_path_does_not_have_is_405(admin: httpx2.AsyncClient) -> None:
    for method, path in (
        ("POST", f"{DEPLOYMENTS}/churn"),
        ("DELETE", "/api/v1/projects"),
        ("PUT", "/healthz"),
    ):
        require_problem(await admin.request(method, path), 405)


async def test_wrong_accounts_and_roles_are_refused(admin: httpx2.AsyncClient) -> None:
    require_problem(
        await admin.post("/api/v1/users", json={"name": "ana", "password": "short"}), 422, path="password"
    )
    members = "/api/v1/projects/default/members"
    require_problem(await admin.put(f"{members}/nobody", json={"role": "owner"}), 404)
    require_problem(await admin.put(f"{members}/admin", json={"role": "king"}), 422, path="role")
    for days in (-1, 0, 1e300, "soon"):
        require_problem(await admin.post("/api/v1/tokens", json={"days": days}), 422, path="days")
    require_problem(await admin.post("/api/v1/tokens", json={"scope": ["fly"]}), 422, path="scope[0]")
    require_problem(await admin.post("/api/v1/tokens", json={"user": "nobody"}), 404)


async def test_a_password_is_never_repeated(admin: httpx2.AsyncClient) -> None:
    body = {"name": ["x"], "password": "a-very-secret-password"}
    assert "a-very-secret" not in (await admin.post("/api/v1/users", json=body)).text
    body = {"user": "admin", "password": "a-very-secret-password"}
    response = await admin.post("/api/v1/login", json=body)
    require_problem(response, 401)
    assert "a-very-secret" not in response.text


async def test_a_limited_token_makes_no_wider_one(faces: Faces) -> None:
    async with faces.http(await faces.secret(scope=(Verb.SELF, Verb.READ))) as client:
        require_problem(await client.post("/api/v1/tokens", json={}), 403)
        require_problem(await client.post("/api/v1/tokens", json={"scope": ["deploy"]}), 403)
        assert (await client.post("/api/v1/tokens", json={"scope": ["read"]})).status_code == 201


async def test_many_wrong_requests_at_once_are_all_answered(admin: httpx2.AsyncClient) -> None:
    calls = [admin.post("/api/v1/projects", content=DEEP, headers=JSON) for _ in range(20)]
    assert {response.status_code for response in await asyncio.gather(*calls)} == {400}


async def test_a_spec_that_is_none_is_refused_before_the_files_are_read(admin: httpx2.AsyncClient) -> None:
    for spec, path in (
        ([], "spec"), ({}, "spec.name"), ({"name": 1}, "spec.name"), ({"name": "a", "fmt": "x"}, "spec.fmt"),
        ({"name": "a", "format": "excel"}, "spec.format"), ({"name": "a", "metrics": 1}, ""),
        ({"name": "a", "signature": {"inputs": [{"name": "x", "datatype": "INT", "shape": []}]}}, ""),
        ({"name": "a", "label": "latest"}, "label"), ({"name": "a", "label": "a b"}, "label"),
        ({"name": "a", "artifacts": {"A": ""}}, "artifacts.A"),
    ):  # fmt: skip
        response = await admin.post(MODELS, files=multipart(spec, {"model.py": b"x"}))
        require_problem(response, 422, path=path)
