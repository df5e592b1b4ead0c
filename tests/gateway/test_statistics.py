"""The numbers of a route are those of what was sent."""

from __future__ import annotations

import asyncio

import httpx2

from modelyard.gateway.base import RouteStatistics
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import TOKEN, Answer, Request, route


def _by_path(request: Request) -> Answer:
    return int(request.path.rpartition("/")[2]), {}, b""


async def test_requests_are_counted_per_route_and_class_whatever_address_they_came_by(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    churn = route("default/churn", await upstream("r1", _by_path), public=False)
    await gateway.publish([churn, route("default/empty"), route("shop/other", await upstream("r2"))])
    headers = {"x-api-key": TOKEN}
    for path in ("/services/default/churn/200", "/v2/models/churn/200", "/v2/models/churn/404"):
        for _ in range(5):
            await client.get(path, headers=headers)
    await client.get("/500", headers={**headers, "host": "churn.service.localhost"})
    await client.get("/v2/models/churn/200")
    await client.get("/v2/models/empty/infer")
    found = {s.name: s for s in await gateway.statistics()}
    assert found["default/churn"].responses == (("2xx", 10), ("4xx", 6), ("5xx", 1))
    assert found["default/churn"].requests == 17
    assert found["default/empty"].responses == (("5xx", 1),)
    assert found["shop/other"] == RouteStatistics(name="shop/other")


async def test_counts_go_on_when_replicas_change_and_a_retry_counts_once(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    leaving = await upstream("r0")
    leaving.draining = True
    for i in range(1, 6):
        await gateway.publish([route("default/churn", leaving, await upstream(f"r{i}"))])
        for _ in range(4):
            assert (await client.get("/v2/models/churn/")).status_code == 200
    assert leaving.seen
    (churn,) = await gateway.statistics()
    assert (churn.requests, churn.responses) == (20, (("2xx", 20),))


async def test_what_is_in_flight_is_active_and_durations_have_quantiles(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    slow = await upstream("r1")
    slow.gate = asyncio.Event()
    await gateway.publish([route("default/churn", slow)])
    waiting = asyncio.create_task(client.get("/v2/models/churn/"))
    while not slow.busy:
        await asyncio.sleep(0.005)
    (churn,) = await gateway.statistics()
    assert (churn.active, churn.requests, churn.p50_seconds) == (1, 0, None)
    await asyncio.sleep(0.1)
    slow.gate.set()
    await waiting
    while churn.p50_seconds is None:
        (churn,) = await gateway.statistics()
        await asyncio.sleep(0.02)
    assert churn.active == 0
    assert 0.1 <= churn.p50_seconds < 1.0
    assert churn.p99_seconds is not None
    assert churn.p50_seconds <= churn.p99_seconds


async def test_without_a_gateway_there_are_no_numbers(place: Place) -> None:
    gateway = place.gateway()
    await gateway.publish([route("default/churn")])
    assert await gateway.statistics() == ()
    await gateway.close(stop=True)
