"""Every address of a service leads to it, through a real Envoy."""

from __future__ import annotations

import json

import httpx2
import pytest

from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import route


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "h2c"])
async def test_a_service_answers_at_its_host_its_path_and_its_alias(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream, http2: bool
) -> None:
    names = ["default/churn", "default/churn@test", "shop/churn", "default/churn-2"]
    await gateway.publish([route(name, await upstream(name.replace("/", "-"))) for name in names])
    expected = [
        ("churn.service.localhost", "/v2/models/churn/infer", "default-churn", "/v2/models/churn/infer"),
        ("CHURN.service.localhost", "/metrics", "default-churn", "/metrics"),
        ("test.churn.service.localhost", "/ping", "default-churn@test", "/ping"),
        ("churn.shop.service.localhost", "/v2?x=1", "shop-churn", "/v2?x=1"),
        ("", "/services/default/churn/v2/health/ready?a=b", "default-churn", "/v2/health/ready?a=b"),
        ("", "/services/default/churn", "default-churn", "/"),
        ("", "/services/default/churn?q", "default-churn", "/?q"),
        ("", "/services/default/churn-2/ping", "default-churn-2", "/ping"),
        ("", "/services/default/churn@test/ping", "default-churn@test", "/ping"),
        ("", "/services/default/churn%40test/ping", "default-churn@test", "/ping"),
        ("", "/services/shop//churn/./x/../ping", "shop-churn", "/ping"),
        ("", "/v2/models/churn", "default-churn", "/v2/models/churn"),
        ("", "/v2/models/churn/versions/1/infer", "default-churn", "/v2/models/churn/versions/1/infer"),
    ]
    async with place.client(http2=http2, http1=not http2) as client:
        for host, path, replica, seen in expected:
            headers = {"host": f"{host}:{place.port}"} if host else {}
            answer = await client.get(path, headers=headers)
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert answer.status_code == 200, (host, path, answer.text)
            assert (answer.json()["replica"], answer.json()["path"]) == (replica, seen)


async def test_a_replica_may_listen_on_a_port_of_its_own(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    await gateway.publish([route("default/churn", await upstream("r1", tcp=True))])
    assert (await client.get("/services/default/churn/x")).json()["replica"] == "r1"


async def test_the_platform_answers_protocol_questions_without_anybody(
    gateway: EnvoyGateway, client: httpx2.AsyncClient
) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"live": True, "ready": True}
    for path in ("/v2", "/v2/"):
        answer = await client.get(path)
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"name", "version", "extensions"}


@pytest.mark.parametrize(
    ("host", "path"),
    [("", "/v2/models/other/infer"), ("", "/services/default/churns"), ("other.service.localhost", "/")],
)
async def test_an_unknown_service_is_not_found_in_the_protocols_error_shape(
    gateway: EnvoyGateway, client: httpx2.AsyncClient, host: str, path: str
) -> None:
    await gateway.publish([route("default/churn")])
    answer = await client.get(path, headers={"host": host} if host else {})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == "not_found"
    assert "no such service" in answer.json()["error"]


async def test_a_service_without_ready_replicas_says_so_and_when_to_come_back(
    gateway: EnvoyGateway, client: httpx2.AsyncClient
) -> None:
    await gateway.publish([route("default/churn")])
    answer = await client.post("/v2/models/churn/infer", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["code"] == "unavailable"


async def test_without_a_control_plane_its_paths_answer_with_a_problem(
    gateway: EnvoyGateway, client: httpx2.AsyncClient
) -> None:
    for method, path in (("GET", "/"), ("GET", "/api/v1/projects"), ("POST", "/v2/repository/index")):
        answer = await client.request(method, path)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "unavailable"
        assert "services go on" in answer.json()["detail"]


async def test_everything_else_goes_to_the_control_plane_with_credentials_and_cookies(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    control_plane = await upstream("api")
    for path in ("/", "/api/v1/models?x=1", "/v2/repository/index", "/v2/models"):
        sent = {"authorization": "Bearer t", "cookie": "s=1", "x-modelyard-subject": "root"}
        assert (await client.get(path, headers=sent)).json()["path"] == path
        seen = control_plane.seen[-1].headers
        assert (seen["authorization"], seen["cookie"]) == ("Bearer t", "s=1")
        assert "x-modelyard-subject" not in seen


async def test_what_a_client_says_about_itself_is_not_believed(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    replica = await upstream("r1")
    await gateway.publish([route("default/churn", replica)])
    lies = {
        "x-forwarded-for": "6.6.6.6",
        "x-forwarded-host": "bank",
        "x-forwarded-proto": "https",
        "forwarded": "for=6.6.6.6",
        "x-real-ip": "6.6.6.6",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-modelyard-subject": "root",
        "x_modelyard_subject": "root",
        "cookie": "session=1",
        "x-request-id": "mine",
    }
    assert (await client.get("/services/default/churn/", headers=lies)).status_code == 200
    seen = replica.seen[-1].headers
    assert seen["x-request-id"] == "mine"
    assert seen["x-forwarded-proto"] == "http"
    assert "6.6.6.6" not in json.dumps(seen)
    assert not {"x-modelyard-subject", "x_modelyard_subject", "cookie", "x-forwarded-host"} & set(seen)


@pytest.mark.parametrize("path", ["/services/default/churn%2Fx", "/services/default%5cchurn/"])
async def test_a_path_with_escaped_slashes_is_refused(
    gateway: EnvoyGateway, client: httpx2.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"


async def test_a_large_body_passes_without_being_collected_first(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    await upstream("api")
    size = 48 * 1024 * 1024
    answer = await client.post("/api/v1/upload", content=b"x" * size)
    assert answer.json()["size"] == size


async def test_many_services_fit_into_one_gateway(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    replica = await upstream("r1")
    await gateway.publish([route(f"default/service-{i}", replica) for i in range(300)])
    assert (await client.get("/services/default/service-299/x")).json()["replica"] == "r1"
    assert (await client.get("/v2/models/service-0")).json()["path"] == "/v2/models/service-0"
