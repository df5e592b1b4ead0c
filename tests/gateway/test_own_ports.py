"""Ports of single services and the door's second port, through a real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import Counter
from dataclasses import replace

import httpx2

from modelyard.domain.endpoint import Route, Share, Target
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import TOKEN, Upstream, route
from tests.gateway.test_changes import steady_load
from tests.support.ports import free_port

BEARER = {"authorization": f"Bearer {TOKEN}"}


def with_second(plain: Route, first: Upstream, second: Upstream) -> Route:
    target = Target(replica=first.name, address=first.address, second_address=second.address)
    return replace(plain, shares=(Share(name=plain.name, targets=(target,)),))


async def ask(port: int, path: str = "/x", **more: object) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}", **more)  # type: ignore[arg-type]


async def test_a_port_leads_to_its_service_alone_whatever_host_is_called_and_asks_for_its_token(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    one, other = free_port(), free_port()
    churn = route("default/churn", await upstream("r1"), public=False)
    fraud = route("shop/fraud", await upstream("r2"))
    await gateway.publish([replace(churn, ports=(one,)), replace(fraud, ports=(other,))])
    for host in ("", "fraud.shop.service.localhost", "churn.service.localhost"):
        answer = await ask(one, "/v2/x?q=1", headers={**BEARER, **({"host": host} if host else {})})
        assert (answer.json()["replica"], answer.json()["path"]) == ("r1", "/v2/x?q=1")
        assert not {"x-modelyard-port", "authorization"} & answer.json()["headers"].keys()
    forged = {"x-modelyard-port": str(other)}
    assert (await ask(one, headers=forged)).status_code == 401
    assert (await ask(other, headers={"x-modelyard-port": str(one)})).json()["replica"] == "r2"
    assert (await ask(place.port, "/v2/models/churn/x", headers=BEARER)).status_code == 200
    counted: Counter[str] = Counter()
    reading = await gateway.statistics()
    assert reading is not None
    for tally in reading.tallies:
        counted[tally.route] += tally.requests
    assert counted == {"default/churn": 3 + 1 + 1, "shop/fraud": 1}
    async with httpx2.AsyncClient(trust_env=False, http1=False, http2=True) as client:
        assert (await client.get(f"http://127.0.0.1:{other}/")).http_version == "HTTP/2"


async def test_ports_come_and_go_without_a_lost_request_anywhere_else(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    churn = route("default/churn", await upstream("r1"))
    other = route("default/other", await upstream("r2"))
    steady, coming = free_port(), free_port()
    churn = replace(churn, ports=(steady,))
    await gateway.publish([churn, other])
    async with (
        steady_load(client, per_second=100) as outcomes,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{steady}", trust_env=False) as direct,
        steady_load(direct, per_second=100) as at_port,
    ):
        for _ in range(6):
            await gateway.publish([churn, replace(other, ports=(coming,))])
            assert (await ask(coming)).json()["replica"] == "r2"
            await gateway.publish([churn, other])
            for _ in range(200):
                with contextlib.suppress(httpx2.HTTPError):
                    await ask(coming)
                    await asyncio.sleep(0.01)
                    continue
                break
            else:
                raise AssertionError("the port stayed open")
    assert set(outcomes) == {"200"}
    assert set(at_port) == {"200"}


async def test_a_second_port_reaches_the_replicas_second_address_or_else_the_first(
    place: Place, upstream: StartUpstream
) -> None:
    ports, door = (free_port(), free_port()), free_port()
    first, second, plain = [await upstream(name) for name in ("r1", "r1-second", "r2")]
    two = with_second(route("default/two"), first, second)
    two = replace(two, ports=ports)
    gateway = place.gateway(second_port=door)
    assert await gateway.ensure() is None
    await gateway.publish([two, route("default/one", plain)])
    try:
        assert [(await ask(port)).json()["replica"] for port in ports] == ["r1", "r1-second"]
        for host, path, replica in (
            ("two.service.localhost", "/x", "r1-second"),
            ("one.service.localhost", "/x", "r2"),
            ("", "/services/default/two/x", "r1-second"),
        ):
            answer = await ask(door, path, headers={"host": host} if host else {})
            assert (answer.json()["replica"], answer.json()["path"]) == (replica, "/x")
        for path in ("/", "/api/v1/projects", "/services/default/none/x"):
            assert (await ask(door, path)).json()["code"] == "not_found"
        async with place.client() as client:
            headers = {"host": "two.service.localhost"}
            assert (await client.get("/x", headers=headers)).json()["replica"] == "r1"
        assert await gateway.routed() == {"r1", "r2"}
        await gateway.publish([replace(two, ports=(), shares=(Share(name=two.name, targets=(), weight=0),))])
        assert (await ask(door, headers={"host": "two.service.localhost"})).status_code == 503
    finally:
        await gateway.close(stop=True)


async def test_a_port_that_another_program_holds_is_left_out_named_and_opened_once_it_is_free(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    churn = route("default/churn", await upstream("r1"))
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        taken, free = foreign.getsockname()[1], free_port()
        assert taken in await gateway.busy_ports()
        await gateway.publish([replace(churn, ports=(taken, free))])
        assert f"port {taken}" in gateway.unopened()[taken]
        assert (await ask(free)).json()["replica"] == "r1"
        assert await gateway.ensure() is None
        assert taken in gateway.unopened()
    assert await gateway.ensure() is None
    assert gateway.unopened() == {}
    assert (await ask(taken)).json()["replica"] == "r1"


async def test_ports_outlive_the_control_plane_and_come_back_with_a_new_envoy(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    port = free_port()
    await gateway.publish([replace(route("default/churn", await upstream("r1")), ports=(port,))])
    await gateway.close(stop=False)
    successor = place.gateway()
    assert await successor.ensure() is None
    assert (await ask(port)).json()["replica"] == "r1"
    await successor.close(stop=True)
    third = place.gateway()
    assert await third.ensure() is None
    assert (await ask(port)).json()["replica"] == "r1"
    written = json.loads((place.directory / "listeners.json").read_text())
    assert [each["name"] for each in written["resources"]] == ["front", "mirror", f"port-{port}"]
    await third.close(stop=True)


async def test_a_host_leads_to_its_owner_alone_which_hears_as_whom_it_may_be_asked_there(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    host = {"host": "churn.example.com"}
    old, new = route("default/churn", await upstream("r1")), route("default/churn.b", await upstream("r2"))
    named = replace(old.addresses, host=host["host"])
    old = replace(old, addresses=named, hosted=False)
    new = replace(
        new,
        name="default/churn-b",
        service="churn-b",
        former=("churn",),
        addresses=replace(new.addresses, host=host["host"], path="/services/default/churn-b"),
    )
    await gateway.publish([old, new])
    forged = {**host, "x-modelyard-alias": "fraud"}
    answer = (await client.get("/v2/models/churn/infer", headers=forged)).json()
    assert (answer["replica"], answer["headers"]["x-modelyard-alias"]) == ("r2", "churn-b,churn")
    assert (await client.get("/services/default/churn/x")).json()["replica"] == "r1"
