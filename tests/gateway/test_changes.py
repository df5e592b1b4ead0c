"""Routes change under load, and no request notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator

import httpx2
import pytest

from modelyard.domain.errors import BackendError
from modelyard.gateway.envoy import files, publish, render
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import Answer, Request, Upstream, route
from tests.support.patience import PATIENCE

_URL = "/services/default/churn/v2/models/churn/infer"


@contextlib.asynccontextmanager
async def steady_load(client: httpx2.AsyncClient, *, per_second: int) -> AsyncIterator[Counter[str]]:
    """Requests at a constant rate while the block runs; counts outcomes."""
    outcomes: Counter[str] = Counter()
    pending: set[asyncio.Task[None]] = set()
    over = asyncio.Event()

    async def one() -> None:
        try:
            outcomes[str((await client.post(_URL, content=b"{}")).status_code)] += 1
        except httpx2.HTTPError as error:
            outcomes[repr(error)] += 1

    async def arrivals() -> None:
        while not over.is_set():
            task = asyncio.create_task(one())
            pending.add(task)
            task.add_done_callback(pending.discard)
            await asyncio.sleep(1 / per_second)

    source = asyncio.create_task(arrivals())
    yield outcomes
    over.set()
    await source
    await asyncio.gather(*pending)


async def test_replicas_change_fifty_times_under_load_without_one_error(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    current: Upstream = await upstream("r0")
    await gateway.publish([route("default/churn", current)])
    async with steady_load(client, per_second=200) as outcomes:
        for i in range(1, 51):
            following: Upstream = await upstream(f"r{i}")
            await gateway.publish([route("default/churn", current, following)])
            await gateway.publish([route("default/churn", following)])
            assert await gateway.routed() == {following.name}
            await current.drain()
            current = following
            await asyncio.sleep(0.02)
    assert set(outcomes) == {"200"}
    assert outcomes["200"] > 300


async def test_a_replica_that_drains_before_the_gateway_knows_costs_no_request(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    leaving, staying = await upstream("leaving"), await upstream("staying")
    await gateway.publish([route("default/churn", leaving, staying)])
    async with steady_load(client, per_second=200) as outcomes:
        await asyncio.sleep(0.2)
        leaving.draining = True
        await asyncio.sleep(0.5)
    assert set(outcomes) == {"200"}


async def test_a_killed_replicas_requests_go_to_another_one(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    killed, staying = await upstream("killed"), await upstream("staying")
    await gateway.publish([route("default/churn", killed, staying)])
    for _ in range(10):
        assert (await client.post(_URL, content=b"{}")).status_code == 200
    await killed.kill()
    for _ in range(50):
        answer = await client.post(_URL, content=b"{}")
        assert (answer.status_code, answer.json()["replica"]) == (200, "staying")


async def test_a_refusal_of_every_replica_is_passed_on_without_the_gateways_marks(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    both = [await upstream("r1"), await upstream("r2")]
    for one in both:
        one.draining = True
    await gateway.publish([route("default/churn", *both)])
    answer = await client.post(_URL, content=b"{}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "x-modelyard-retry" not in answer.headers


async def test_an_error_of_the_model_is_never_tried_again(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    def fail(_: Request) -> Answer:
        return 503, {"content-type": "application/json"}, b"{}"

    both = [await upstream("r1", fail), await upstream("r2", fail)]
    await gateway.publish([route("default/churn", *both)])
    assert (await client.post(_URL, content=b"{}")).status_code == 503
    assert sum(len(one.seen) for one in both) == 1


async def test_a_request_in_flight_finishes_at_the_replica_that_has_it(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    old, new = await upstream("old"), await upstream("new")
    old.gate = asyncio.Event()
    await gateway.publish([route("default/churn", old)])
    waiting = asyncio.create_task(client.post(_URL, content=b"{}"))
    while not old.busy:
        await asyncio.sleep(0.005)
    await gateway.publish([route("default/churn", new)])
    assert (await client.post(_URL, content=b"{}")).json()["replica"] == "new"
    await gateway.publish([])
    old.gate.set()
    answer = await waiting
    assert (answer.status_code, answer.json()["replica"]) == (200, "old")


async def test_a_service_comes_and_goes_while_others_answer(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    churn = route("default/churn", await upstream("r1"))
    other = route("default/other", await upstream("r2"))
    await gateway.publish([churn])
    async with steady_load(client, per_second=200) as outcomes:
        for _ in range(15):
            await gateway.publish([churn, other])
            assert (await client.get("/v2/models/other")).status_code == 200
            await gateway.publish([churn])
            assert (await client.get("/v2/models/other")).status_code == 404
    assert set(outcomes) == {"200"}


async def test_uploads_and_event_streams_pass_piece_by_piece(place: Place, gateway: EnvoyGateway) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while size := int(await reader.readline(), 16):
            piece = await reader.readexactly(size)
            await reader.readline()
            writer.write(b"%x\r\n%s\r\n" % (size, piece))
        writer.write(b"0\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(echo, place.sockets / "api.sock")
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    writer.write(b"POST /api/v1/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
    for piece in (b"first", b"second", b"third"):
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        seen = await asyncio.wait_for(reader.readuntil(piece), PATIENCE)
        assert seen.endswith(piece)
    writer.write(b"0\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), PATIENCE)
    writer.close()
    server.close()


async def test_publishing_the_same_routes_again_writes_nothing(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    routes = [route("default/churn", await upstream("r1"))]
    await gateway.publish(routes)
    before = {path: path.stat().st_mtime_ns for path in place.directory.glob("*.json")}
    await gateway.publish(list(routes))
    assert {path: path.stat().st_mtime_ns for path in place.directory.glob("*.json")} == before


async def test_a_change_of_replicas_touches_neither_routes_nor_listeners(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    await gateway.publish([route("default/churn")])
    names = ("routes.json", "listeners.json", "bootstrap.json")
    before = [(place.directory / name).stat().st_mtime_ns for name in names]
    await gateway.publish([route("default/churn", await upstream("r1"))])
    assert [(place.directory / name).stat().st_mtime_ns for name in names] == before


async def test_a_document_that_envoy_refuses_is_taken_back(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    good = route("default/churn", await upstream("r1"))
    await gateway.publish([good])
    kept = files.read(place.directory / "routes.json")
    broken = json.loads(json.dumps(kept))
    broken["resources"][0]["virtual_hosts"][0]["domains"] *= 2
    broken = render.document(broken["type_url"], broken["resources"])
    with pytest.raises(BackendError, match="refused its routes"):
        await publish.step(gateway._admin, place.directory / "routes.json", broken)
    assert files.read(place.directory / "routes.json") == kept
    assert (await client.post(_URL, content=b"{}")).status_code == 200
    await gateway.publish([good, route("default/other")])


async def test_the_gateway_gives_up_after_the_replica_should_have(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    stuck = await upstream("r1")
    stuck.gate = asyncio.Event()
    await gateway.publish([route("default/churn", stuck, timeout=0.01)])
    answer = await client.post(_URL, content=b"{}")
    stuck.gate.set()
    assert (answer.status_code, answer.json()["code"]) == (504, "timed_out")
