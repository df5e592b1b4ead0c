"""What a control plane does with requests while another one leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from modelyard.api.following import Following
from tests.support.patience import PATIENCE
from tests.support.ports import free_port


class Plane:
    """A control plane of which only its name matters, on a port of its own."""

    def __init__(self, name: str) -> None:
        self.name, self.leader = name, ""
        self.served: list[str] = []
        self.gone = asyncio.Event()
        self.cut: Callable[[], None] = lambda: None
        methods = ["GET", "HEAD", "POST", "PUT"]
        routes = [
            Route("/cut", self._cut, methods=methods),
            Route("/slow", self._slow),
            Route("/{path:path}", self._any, methods=methods),
        ]
        self.following = Following(Starlette(routes=routes), leader=lambda: self.leader)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def _any(self, request: Request) -> Response:
        body = await request.body()
        self.served.append(f"{request.method} {request.url.path}")
        said = {"by": self.name, "path": request.url.path, "query": request.url.query, "bytes": len(body)}
        said |= {"host": request.headers["host"], "shown": request.headers.get("authorization", "")}
        return JSONResponse(said, status_code=201, headers={"x-by": self.name})

    async def _cut(self, request: Request) -> Response:
        await request.body()
        self.cut()
        await asyncio.sleep(30)
        return JSONResponse({})

    async def _slow(self, request: Request) -> Response:
        async def lines() -> AsyncIterator[bytes]:
            yield b"first\n"
            try:
                await asyncio.sleep(30)
            finally:
                self.gone.set()

        return StreamingResponse(lines(), media_type="text/plain")


@pytest.fixture
async def planes() -> AsyncIterator[tuple[Plane, Plane]]:
    """One that leads, and one that follows it."""
    leader, follower = Plane("leader"), Plane("follower")
    follower.leader = leader.url
    servers, tasks = [], []
    for plane in (leader, follower):
        config = uvicorn.Config(
            plane.following,
            port=plane.port,
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        servers.append(uvicorn.Server(config))
        tasks.append(asyncio.create_task(servers[-1].serve()))
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)

    def cut() -> None:
        for connection in list(servers[0].server_state.connections):
            connection.transport.abort()

    leader.cut = cut
    yield leader, follower
    for plane in (leader, follower):
        await plane.following.close()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as found:
        yield found


async def test_the_leader_answers_as_if_it_were_asked_itself(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient
) -> None:
    _, follower = planes
    headers = {"authorization": "Bearer x", "host": "ml.example.org"}
    body = b"m" * 3_000_000
    answer = await client.post(f"{follower.url}/api/v1/a%20b?c=d&e", content=body, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["x-by"] == "leader"
    assert answer.json() == {
        "by": "leader", "path": "/api/v1/a b", "query": "c=d&e", "bytes": 3_000_000,
        "host": "ml.example.org", "shown": "Bearer x",
    }  # fmt: skip


async def test_a_body_of_unknown_length_is_passed_on(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"12345"

    answer = await client.put(f"{planes[1].url}/api/v1/x", content=pieces())
    assert (answer.json()["by"], answer.json()["bytes"]) == ("leader", 25)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/api/v1/artifacts/sha256/abc"])
async def test_what_is_asked_of_this_one_is_answered_by_it(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient, path: str
) -> None:
    assert (await client.get(planes[1].url + path)).json()["by"] == "follower"


async def test_files_are_taken_by_the_leader(planes: tuple[Plane, Plane], client: httpx2.AsyncClient) -> None:
    answer = await client.put(f"{planes[1].url}/api/v1/artifacts/sha256/abc", content=b"123")
    assert answer.json()["by"] == "leader"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
async def test_without_a_leader_it_answers_itself(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient, method: str
) -> None:
    planes[1].leader = f"http://127.0.0.1:{free_port()}"
    content = b"12345" if method in ("POST", "PUT") else None
    answer = await client.request(method, f"{planes[1].url}/api/v1/x", content=content)
    assert answer.headers["x-by"] == "follower"
    if method != "HEAD":
        assert answer.json()["bytes"] == len(content or b"")
    planes[1].leader = ""
    answer = await client.request(method, f"{planes[1].url}/api/v1/x", content=content)
    assert answer.headers["x-by"] == "follower"


async def test_two_that_take_each_other_for_the_leader_do_not_go_in_circles(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient
) -> None:
    planes[0].leader = planes[1].url
    assert (await client.get(f"{planes[1].url}/api/v1/x")).json()["by"] == "leader"


async def test_a_leader_that_dies_meanwhile_leaves_a_write_unknown_and_a_read_is_answered_here(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient
) -> None:
    answer = await client.post(f"{planes[1].url}/cut", content=b"123")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "nobody knows whether it was carried out" in answer.json()["detail"]
    planes[1].cut = lambda: planes[1].served.append("cut")
    reading = asyncio.create_task(client.get(f"{planes[1].url}/cut"))
    async with asyncio.timeout(PATIENCE):
        while "cut" not in planes[1].served:
            await asyncio.sleep(0.01)
    reading.cancel()


async def test_a_leader_that_vanishes_without_a_word_is_not_waited_for_once_another_leads(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient
) -> None:
    leader, follower = planes
    asked = asyncio.Event()
    leader.cut = asked.set  # it says nothing for long, and its connections stay
    writing = asyncio.create_task(client.post(f"{follower.url}/cut", content=b"123"))
    await asyncio.wait_for(asked.wait(), PATIENCE)
    asked.clear()
    answered_here = asyncio.Event()
    follower.cut = answered_here.set
    reading = asyncio.create_task(client.get(f"{follower.url}/cut"))
    await asyncio.wait_for(asked.wait(), PATIENCE)
    follower.leader = f"http://127.0.0.1:{free_port()}"
    answer = await asyncio.wait_for(writing, PATIENCE)
    assert answer.status_code == 503
    assert "nobody knows whether it was carried out" in answer.json()["detail"]
    await asyncio.wait_for(answered_here.wait(), PATIENCE)
    reading.cancel()


async def test_an_answer_that_has_begun_goes_on_when_another_leads(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient
) -> None:
    async with client.stream("GET", f"{planes[1].url}/slow") as answer:
        lines = answer.aiter_raw()
        assert await anext(lines) == b"first\n"
        planes[1].leader = ""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(lines), 2)
        assert not planes[0].gone.is_set()
    await asyncio.wait_for(planes[0].gone.wait(), PATIENCE)


async def test_who_goes_away_is_not_waited_for(
    planes: tuple[Plane, Plane], client: httpx2.AsyncClient
) -> None:
    async with client.stream("GET", f"{planes[1].url}/slow") as answer:
        assert await anext(answer.aiter_raw()) == b"first\n"
        assert not planes[0].gone.is_set()
    await asyncio.wait_for(planes[0].gone.wait(), PATIENCE)
