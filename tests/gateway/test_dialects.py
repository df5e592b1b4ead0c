"""Every dialect of a real replica through a real Envoy, with the service's token."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from modelyard.domain.endpoint import Share, Target
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place
from tests.gateway.support import TOKEN, route
from tests.serving.replicas import Replica, replica
from tests.serving.served import TEXT, TEXT_CODE

BEARER = {"authorization": f"Bearer {TOKEN}"}
SAID = [{"role": "user", "content": "hello"}]
ASKED: list[tuple[str, str, Any]] = [
    ("GET", "/v2/models/shouter/config", None),
    ("GET", "/v2/models/stats", None),
    ("GET", "/v2/models/shouter/stats", None),
    ("POST", "/v2/models/shouter/generate", {"text_input": "hello"}),
    ("POST", "/v2/repository/index", None),
    ("GET", "/v2/systemsharedmemory/status", None),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/shouter", None),
    ("POST", "/v1/models/shouter:predict", {"instances": ["hello"]}),
    ("POST", "/v1/models/shouter%3Apredict", {"instances": ["hello"]}),
    ("POST", "/v1/models/shouter/versions/3:predict", {"inputs": ["hello"]}),
    ("POST", "/invocations", {"instances": ["hello"]}),
    ("GET", "/ping", None),
    ("POST", "/v1/chat/completions", {"model": "shouter", "messages": SAID}),
    ("POST", "/openai/v1/completions", {"model": "shouter", "prompt": "hello"}),
    ("POST", "/predict", [{"text_input": "hello"}]),
]


@pytest.fixture(scope="module")
def shouter() -> Iterator[Replica]:
    with replica(code=TEXT_CODE, signature=TEXT, service="shouter") as running:
        yield running


@pytest.fixture
async def guarded(gateway: EnvoyGateway, shouter: Replica) -> EnvoyGateway:
    service = route("default/shouter", public=False)
    share = Share(name=service.name, targets=(Target(replica="r1", address=shouter.listen),))
    await gateway.publish([dataclasses.replace(service, shares=(share,))])
    return gateway


@pytest.mark.usefixtures("guarded")
async def test_every_dialect_is_reached_by_host_and_by_path_with_a_token_alone(
    place: Place, client: httpx2.AsyncClient
) -> None:
    host = {"host": f"shouter.service.localhost:{place.port}"}
    for method, path, body in ASKED:
        content = None if body is None else json.dumps(body)
        by_host = await client.request(method, path, content=content, headers={**host, **BEARER})
        by_path = await client.request(
            method, f"/services/default/shouter{path}", content=content, headers=BEARER
        )
        assert (by_host.status_code, by_path.status_code) == (200, 200), (path, by_host.text, by_path.text)
        if method == "POST" and body is not None:
            assert "HELLO" in by_host.text
            assert "HELLO" in by_path.text
        for headers, url in ((host, path), ({}, f"/services/default/shouter{path}")):
            refused = await client.request(method, url, content=content, headers=headers)
            assert refused.status_code == 401, path
            assert refused.json()["error"]


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("path", ["config", "stats", "generate"])
async def test_extensions_of_a_model_are_at_the_front_doors_own_host(
    client: httpx2.AsyncClient, path: str
) -> None:
    content = '{"text_input": "hello"}' if path == "generate" else None
    method = "POST" if content else "GET"
    answer = await client.request(method, f"/v2/models/shouter/{path}", content=content, headers=BEARER)
    assert answer.status_code == 200
    promised = (await client.get("/v2")).json()["extensions"]
    assert {"model_configuration", "statistics", "generate", "classification"} <= set(promised)
    assert "system_shared_memory" not in promised


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "h2c"])
async def test_events_go_through_the_gateway(place: Place, http2: bool) -> None:
    body = json.dumps({"model": "shouter", "messages": SAID, "stream": True})
    async with place.client(http2=http2, http1=not http2) as client:
        url = "/services/default/shouter/v1/chat/completions"
        answer = await client.post(url, content=body, headers=BEARER)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "HELLO" in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
