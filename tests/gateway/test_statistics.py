"""The numbers of a route are those of what was sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx2

from modelyard.domain.endpoint import Mirror, Share
from modelyard.domain.observation import MIRROR, Part
from modelyard.domain.tallies import Reading, Tally
from modelyard.gateway.envoy import statistics
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import TOKEN, Answer, Request, route, share
from tests.support.patience import PATIENCE


def _by_path(request: Request) -> Answer:
    return int(request.path.rpartition("/")[2]), {}, b""


def _by_status(request: Request) -> Answer:
    status = request.path.rpartition("/")[2]
    return 200, {"content-type": "application/grpc", "grpc-status": status}, b""


async def _read(gateway: EnvoyGateway) -> dict[str, Tally]:
    """Tallies by name, once the times of requests that reached a replica are among them."""
    while True:
        reading = await gateway.statistics()
        assert reading is not None
        reached = [tally for tally in reading.tallies if tally.revision]
        if all(sum(tally.times.values()) == tally.requests for tally in reached):
            return {tally.name: tally for tally in reading.tallies}
        await asyncio.sleep(0.05)


async def test_requests_are_counted_by_route_share_and_code_whatever_address_they_came_by(
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
    await client.get("/v2/models/nobody/infer")
    found = await _read(gateway)
    served, refused = found["default/churn default/churn 7"], found["default/churn default/churn 0"]
    assert (served.codes, served.replicas) == ({200: 10, 404: 5, 500: 1}, {"r1": 16})
    assert (refused.codes, refused.replicas) == ({401: 1}, {})
    assert found["default/empty default/empty 0"].codes == {503: 1}
    assert len(found) == 3
    assert served.microseconds >= sum(least * n for least, n in served.times.items()) > 0


async def test_calls_are_counted_by_what_they_ended_with_and_not_by_their_200(
    gateway: EnvoyGateway, upstream: StartUpstream, place: Place
) -> None:
    await gateway.publish([route("default/churn", await upstream("r1", _by_status)), route("default/empty")])
    async with place.client(http1=False, http2=True) as client:
        for service, status in (("churn", 0), ("churn", 0), ("churn", 14), ("churn", 3), ("empty", 0)):
            head = {"x-modelyard-service": service, "content-type": "application/grpc", "te": "trailers"}
            assert (await client.post(f"/call/{status}", headers=head)).status_code == 200
    found = await _read(gateway)
    served = found["default/churn default/churn 7"]
    assert (served.codes, served.calls) == ({}, {0: 2, 14: 1, 3: 1})
    assert found["default/empty default/empty 0"].calls == {14: 1}


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
    (churn,) = (await _read(gateway)).values()
    assert churn.codes == {200: 20}
    assert churn.replicas == {f"r{i}": 4 for i in range(1, 6)}


async def test_revisions_and_shares_are_told_apart(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    old, new = share("default/churn#1", await upstream("r1")), share("default/churn#2", await upstream("r2"))
    shares = tuple(_revised(each, number, 50) for number, each in enumerate((old, new), start=1))
    await gateway.publish([replace(route("default/churn"), shares=shares)])
    for _ in range(40):
        await client.get("/v2/models/churn/")
    found = await _read(gateway)
    assert found.keys() == {"default/churn default/churn#1 1", "default/churn default/churn#2 2"}
    assert sum(tally.requests for tally in found.values()) == 40


async def test_copies_are_counted_apart_with_their_codes_and_times(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    own, copied = await upstream("r1"), await upstream("r2", lambda _: (500, {}, b""))
    mirror = Mirror(share=share("default/other#7", copied), percent=100)
    await gateway.publish([replace(route("default/churn", own), mirrors=(mirror,))])
    for _ in range(12):
        assert (await client.get("/v2/models/churn/")).status_code == 200
    while len(copied.seen) < 12:
        await asyncio.sleep(0.01)
    found = await _read(gateway)
    assert found["default/churn default/churn 7"].codes == {200: 12}
    copies = found["mirror default/other#7 7"]
    assert (copies.codes, copies.part) == ({500: 12}, Part("default/other", 7, MIRROR))
    assert copies.microseconds > 0


async def test_what_is_in_flight_is_known_by_replica(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    slow = await upstream("r1")
    slow.gate = asyncio.Event()
    await gateway.publish([route("default/churn", slow)])
    waiting = asyncio.create_task(client.get("/v2/models/churn/"))
    while not slow.busy:
        await asyncio.sleep(0.005)
    async with asyncio.timeout(PATIENCE):
        # Envoy's workers tell its main thread of what they do a moment later.
        while (reading := await gateway.statistics()) is None or reading.inflight != {"r1": 1}:
            await asyncio.sleep(0.01)
    assert reading.tallies == ()
    await asyncio.sleep(0.1)
    slow.gate.set()
    await waiting
    (churn,) = (await _read(gateway)).values()
    assert 0.1e6 <= churn.microseconds < 1e6
    assert churn.requests == 1


async def test_without_a_gateway_there_are_no_numbers(place: Place) -> None:
    gateway = place.gateway()
    await gateway.publish([route("default/churn")])
    assert await gateway.statistics() is None
    await gateway.close(stop=True)


def test_names_of_numbers_are_read_whatever_a_replica_is_called() -> None:
    name = "route.default/a@test.share.default/a@test#3.revision.3"
    counters: dict[str, int | str] = {
        f"routes.requests.{name}.replica.a-3.code.1.code.200.call.": 4,
        f"routes.requests.{name}.replica.a-3.code.1.code.200.call.13": 1,
        f"routes.microseconds.{name}": 500,
        "routes.requests.route.control-plane.share.control-plane.revision..replica..code.200.call.": 9,
        "routes.requests.route..share..revision..replica..code.404.call.": 9,
        "routes.requests.route.mirror.share.default/a.revision.2.replica.a-2.code.0.call.": 1,
    }
    one, copies = statistics.tallies(counters, {f"routes.duration.{name}": {100: 5}})
    assert (one.codes, one.calls, one.replicas) == ({200: 4}, {13: 1}, {"a-3.code.1": 5})
    assert (one.microseconds, one.times) == (500, {100: 5})
    assert (one.part.service, one.part.revision, one.part.via) == ("default/a@test", 3, "")
    assert (copies.part.service, copies.part.revision, copies.part.via) == ("default/a", 2, "mirror")
    assert Reading(epoch="1").tallies == ()


def _revised(one: Share, revision: int, weight: int) -> Share:
    targets = tuple(replace(target, revision=revision) for target in one.targets)
    return replace(one, targets=targets, weight=weight)
