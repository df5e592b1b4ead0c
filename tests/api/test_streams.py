"""Server-sent events, and the API on a real socket: what goes on for ever, and what should not get in."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from modelyard.domain.deployment import Key
from tests.api.requests import DEPLOYMENTS, SIGNATURE, SOURCE, multipart
from tests.support.faces import Live, live

EVENTS = "/api/v1/projects/default/events"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("live") / "home") as made:
        with _client(made) as client:
            files = multipart({"name": "churn", "signature": SIGNATURE}, {"model.py": SOURCE})
            assert client.post("/api/v1/projects/default/models", files=files).status_code == 201
            assert client.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"}).status_code == 201
            _rolled_out(client)
        yield made


def _rolled_out(client: httpx2.Client) -> None:
    """Wait until nothing more happens by itself, so that the next event is a test's own."""
    with client.stream("GET", EVENTS, headers={"accept": "text/event-stream"}) as response:
        assert any(event["reason"] == "RolledOut" for event in _documents(response))


def _client(running: Live, token: str | None = None) -> httpx2.Client:
    headers = {"authorization": f"Bearer {running.token if token is None else token}"}
    return httpx2.Client(base_url=running.url, headers=headers, timeout=20)


def _documents(response: httpx2.Response) -> Iterator[dict[str, str]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_logs_come_as_events_and_end(running: Live) -> None:
    running.faces.backend.write(Key("default", "churn"), "churn-a", 'a "line" with\ttabs and ünïcode')
    with _client(running) as client:
        response = client.get(f"{DEPLOYMENTS}/churn/logs", params={"replica": "churn-a"})
        assert response.headers["content-type"].startswith("text/event-stream")
        assert list(_documents(response))[-1] == {
            "replica": "churn-a",
            "text": 'a "line" with\ttabs and ünïcode',
        }
        assert list(_documents(client.get(f"{DEPLOYMENTS}/churn/logs", params={"tail": 0}))) == []


def test_followed_logs_go_on_with_what_comes(running: Live) -> None:
    with (
        _client(running) as client,
        client.stream("GET", f"{DEPLOYMENTS}/churn/logs", params={"follow": "1", "tail": "0"}) as response,
    ):
        running.call(_later(running, "what came later"))
        assert next(_documents(response))["text"] == "what came later"


def test_events_are_followed_from_where_they_were_left(running: Live) -> None:
    with _client(running) as client:
        newest = client.get(EVENTS, params={"limit": 1}).json()["items"][0]["id"]
        assert client.post(f"{DEPLOYMENTS}/churn/scale", json={"replicas": 2}).status_code == 200
        headers = {"accept": "text/event-stream"}
        with client.stream("GET", EVENTS, params={"after": newest}, headers=headers) as response:
            event = next(_documents(response))
        assert event["reason"] == "Scaled"
        assert event["actor"] == "admin"


def test_nobody_follows_without_a_token(running: Live) -> None:
    with httpx2.Client(base_url=running.url) as client:
        for path in (f"{DEPLOYMENTS}/churn/logs?follow=1", EVENTS):
            assert client.get(path, headers={"accept": "text/event-stream"}).status_code == 401


def _raw(running: Live, request: bytes) -> bytes:
    parts = urlsplit(running.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=5) as wire:
        wire.sendall(request)
        wire.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := wire.recv(65_536):
            answer += chunk
    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 60\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\nContent-Length: 60\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length : 5\r\n",
        b"X: a\rContent-Length: 5\r\n",
    ],
)  # fmt: skip
def test_no_second_request_can_be_smuggled_in_a_first(running: Live, head: bytes) -> None:
    inner = (
        b"GET /api/v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + running.token.encode()
        + b"\r\n\r\n"
    )
    answer = _raw(running, b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n0\r\n\r\n" + inner)
    assert b'"administrator"' not in answer
    assert b" 500 " not in answer.split(b"\r\n")[0]


def test_a_client_that_leaves_in_the_middle_of_an_upload_is_no_fault(
    running: Live, caplog: pytest.LogCaptureFixture
) -> None:
    head = (
        b"POST /api/v1/projects/default/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + running.token.encode()
        + b"\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n--x\r\n"
    )
    _raw(running, head)
    _raw(
        running,
        head.replace(b"multipart/form-data; boundary=x", b"application/json").replace(
            b"/default/models", b""
        ),
    )
    with _client(running) as client:
        assert client.get("/readyz").status_code == 200
        assert [m["name"] for m in client.get("/api/v1/projects/default/models").json()["items"]] == ["churn"]
    assert "unexpected error" not in caplog.text


async def _later(running: Live, text: str) -> None:
    running.faces.backend.write(Key("default", "churn"), "churn-a", text)


def test_health_and_metrics_answer_without_a_token(running: Live, tmp_path: Path) -> None:
    with httpx2.Client(base_url=running.url) as client:
        for path in ("/healthz", "/livez", "/readyz", "/metrics", "/api/openapi.json"):
            assert client.get(path).status_code == 200, path
