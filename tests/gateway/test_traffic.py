"""What users ask of an endpoint's traffic, on the real Envoy."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
from collections import Counter
from collections.abc import Callable
from math import sqrt
from typing import Any

import httpx2
import pytest

from modelyard.domain.endpoint import Mirror, Pin, Route, Share
from modelyard.domain.limits import Limits
from modelyard.domain.traffic_spec import Sticky, StickyBy
from modelyard.gateway.envoy import process
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import Answer, Request, route, share
from tests.support.patience import PATIENCE

_URL = "/services/default/churn/v2/models/churn/infer"
_999 = 3.2905
"""Standard deviations that hold 99.9 % of a normal distribution."""


def shared(*shares: Share, **more: Any) -> Route:
    """The route `default/churn`, divided."""
    return dataclasses.replace(route("default/churn"), shares=shares, **more)


async def send(place: Place, count: int, **headers: str) -> Counter[str]:
    """Replica, or status when it is not 200, to how many of the requests it answered; eight at a time."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    request = f"POST {_URL} HTTP/1.1\r\nhost: front\r\n{lines}content-length: 2\r\n\r\n{{}}".encode()
    seen: Counter[str] = Counter()

    async def some(n: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        for _ in range(n):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            body, status = await reader.readexactly(size), head.split(" ")[1]
            seen[json.loads(body)["replica"] if status == "200" else status] += 1
        writer.close()

    await asyncio.gather(*(some(count // 8) for _ in range(8)))
    return seen


async def test_requests_are_divided_as_weights_say(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    weights = {"a": 70, "b": 20, "c": 10}
    shares = [share(f"default/{name}", await upstream(name), weight=w) for name, w in weights.items()]
    await gateway.publish([shared(*shares)])
    count = 2400
    seen = await send(place, count)
    assert sum(seen.values()) == count
    for name, weight in weights.items():
        p = weight / 100
        assert abs(seen[name] - count * p) <= _999 * sqrt(count * p * (1 - p)), seen


async def test_another_services_replica_is_told_whom_it_stands_for_and_clients_cannot_say_so(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    own, other = await upstream("own"), await upstream("other")
    await gateway.publish(
        [shared(share("default/churn#2", own, weight=50), share("default/b", other, weight=50))]
    )
    await send(place, 80, x_modelyard_alias="evil", x_modelyard_mirror="1")
    assert {request.headers.get("x-modelyard-alias") for request in own.seen} == {None}
    assert {request.headers.get("x-modelyard-alias") for request in other.seen} == {"churn"}
    assert not any("x-modelyard-mirror" in request.headers for request in own.seen + other.seen)


async def test_mirrors_get_marked_copies_and_clients_only_the_services_own_answer(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    def fail(_: Request) -> Answer:
        return 500, {}, b"broken"

    own, whole, half = await upstream("own"), await upstream("whole", fail), await upstream("half")
    mirrors = (
        Mirror(share=share("default/whole", whole), percent=100),
        Mirror(share=share("default/churn#7", half), percent=50),
        Mirror(share=share("default/nobody"), percent=100),
    )
    await gateway.publish([shared(share("default/churn", own), mirrors=mirrors)])
    count = 400
    assert await send(place, count) == {"own": count}
    await _until(lambda: len(whole.seen) == count)
    assert abs(len(half.seen) - count / 2) <= _999 * sqrt(count / 4)
    assert {r.headers["x-modelyard-mirror"] for r in whole.seen + half.seen} == {"1"}
    assert {r.headers.get("x-modelyard-alias") for r in whole.seen} == {"churn"}
    assert {r.headers.get("x-modelyard-alias") for r in half.seen} == {None}
    assert {(r.path, r.body, r.headers["host"]) for r in whole.seen} == {
        (own.seen[0].path, b"{}", own.seen[0].headers["host"])
    }
    assert not any("x-modelyard-copy-to" in r.headers for r in whole.seen)
    copies = {each.share: (each.sent, each.dropped) for each in await gateway.copies()}
    assert copies["default/whole"] == (count, 0)
    assert copies["default/churn#7"][0] == len(half.seen)


async def test_a_mirror_that_hangs_is_left_alone_and_the_others_get_their_copies(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    own, hanging, good = await upstream("own"), await upstream("hanging"), await upstream("good")
    hanging.gate = asyncio.Event()
    mirrors = [Mirror(share=share(f"default/{u.name}", u), percent=100) for u in (hanging, good)]
    await gateway.publish([shared(share("default/churn", own), mirrors=tuple(mirrors))])
    count = 320
    try:
        assert await send(place, count) == {"own": count}
        await _until(lambda: len(good.seen) == count)
        assert len(hanging.seen) <= 64
    finally:
        hanging.gate.set()
    copies = {each.share: each for each in await gateway.copies()}
    assert copies["default/hanging"].sent <= 64
    assert count - 64 <= copies["default/hanging"].dropped < count
    assert copies["default/good"].dropped == 0


@pytest.fixture
async def arms(upstream: StartUpstream) -> Callable[[int], list[Share]]:
    one, two = await upstream("one"), await upstream("two")
    return lambda weight: [
        share("default/churn#1", one, weight=weight),
        share("default/churn#2", two, weight=100 - weight),
    ]


async def test_a_client_without_a_cookie_gets_one_and_stays_where_it_was_sent(
    place: Place, gateway: EnvoyGateway, arms: Callable[[int], list[Share]]
) -> None:
    sticky = Sticky(by=StickyBy.COOKIE, name="arm", ttl_seconds=60)
    await gateway.publish([shared(*arms(50), sticky=sticky)])
    clients = [place.client() for _ in range(24)]
    first = [(await c.post(_URL, content=b"{}")) for c in clients]
    assert all("Max-Age=60" in answer.headers["set-cookie"] for answer in first)
    assigned = [answer.json()["replica"] for answer in first]
    assert set(assigned) == {"one", "two"}
    for _ in range(3):
        again = [await c.post(_URL, content=b"{}") for c in clients]
        assert [answer.json()["replica"] for answer in again] == assigned
        assert not any("set-cookie" in answer.headers for answer in again)
        assert not any({"cookie", "x-modelyard-client"} & answer.json()["headers"].keys() for answer in again)
    # Another Envoy, with other weights: who moves, moves to where the weight went.
    running = process.find(gateway._layout)
    assert running is not None
    process.send(running, signal.SIGKILL)
    await _until(lambda: not process.alive(running))
    await gateway.publish([shared(*arms(30), sticky=sticky)])
    assert await gateway.ensure() is None
    later = [(await c.post(_URL, content=b"{}")).json()["replica"] for c in clients]
    assert all(
        now == then or (then, now) == ("one", "two") for then, now in zip(assigned, later, strict=True)
    )
    for client in clients:
        await client.aclose()


@pytest.mark.parametrize("sticky", [Sticky(by=StickyBy.HEADER, name="X-User"), Sticky(by=StickyBy.SOURCE)])
async def test_a_client_is_known_by_a_header_or_by_its_address(
    place: Place,
    gateway: EnvoyGateway,
    arms: Callable[[int], list[Share]],
    sticky: Sticky,
) -> None:
    await gateway.publish([shared(*arms(50), sticky=sticky)])
    seen = [await send(place, 16, x_user=f"user-{n}") for n in range(12)]
    assert all(len(replicas) == 1 for replicas in seen)
    everywhere = {name for replicas in seen for name in replicas}
    assert len(everywhere) == (2 if sticky.by is StickyBy.HEADER else 1)


async def test_a_pin_counts_before_weights_and_stickiness(
    place: Place, gateway: EnvoyGateway, arms: Callable[[int], list[Share]]
) -> None:
    pins = (Pin(share="default/churn#2", header="x-arm", value="two"),)
    await gateway.publish([shared(*arms(100), pins=pins, sticky=Sticky(by=StickyBy.COOKIE))])
    assert await send(place, 16, x_arm="two") == {"two": 16}
    assert await send(place, 16) == {"one": 16}


async def test_requests_beyond_the_rate_are_answered_429_whatever_the_address(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    limits = Limits(requests_per_second=0.05, burst=6)
    limited = shared(share("default/churn", await upstream("own")), limits=limits)
    await gateway.publish([limited, route("default/other", await upstream("other"))])
    answers = [await client.post(url, content=b"{}") for url in (_URL, "/v2/models/churn/infer") * 5]
    assert [answer.status_code for answer in answers].count(200) == 6
    refused = answers[-1]
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "20")
    assert refused.json()["code"] == "rate_limited"
    assert "no more requests per second" in refused.json()["error"]
    call = {"content-type": "application/grpc", "te": "trailers", "host": "churn.service.localhost"}
    called = await client.post("/inference.GRPCInferenceService/ModelInfer", content=b"", headers=call)
    assert (called.headers["grpc-status"], called.headers["retry-after"]) == ("8", "20")
    assert "no more requests" in called.headers["grpc-message"]
    for _ in range(20):
        assert (await client.post("/v2/models/other/infer", content=b"{}")).status_code == 200


@pytest.mark.parametrize(
    ("limits", "taken"), [(Limits(concurrency=4), 4), (Limits(concurrency=4, pending=3), 7)]
)
async def test_what_is_in_progress_is_bounded_and_some_may_wait(
    place: Place,
    gateway: EnvoyGateway,
    upstream: StartUpstream,
    client: httpx2.AsyncClient,
    limits: Limits,
    taken: int,
) -> None:
    own = await upstream("own")
    own.gate = asyncio.Event()
    await gateway.publish([shared(dataclasses.replace(share("default/churn", own), limits=limits))])
    # Each of the gateway's two threads always has a connection, so that who may wait may find one more free.
    most = taken + (1 if limits.pending else 0)
    sending: list[asyncio.Task[httpx2.Response]] = []
    try:
        # One after another while there is room: a request whose connection is still being made waits too.
        for number in range(1, limits.concurrency + 1):
            sending.append(asyncio.create_task(client.post(_URL, content=b"{}")))
            await _until(lambda number=number: own.busy == number)
        sending += [asyncio.create_task(client.post(_URL, content=b"{}")) for _ in range(8)]
        await _until(lambda: sum(task.done() for task in sending) >= 12 - most)
        assert own.busy <= limits.concurrency + 1
        refused = [task.result() for task in sending if task.done()]
        assert {(a.status_code, a.json()["code"], a.headers["retry-after"]) for a in refused} == {
            (503, "overloaded", "1")
        }
    finally:
        own.gate.set()
    assert taken <= sum([(await task).status_code == 200 for task in sending]) <= most


async def test_a_replica_that_fails_again_and_again_gets_no_requests_for_a_while(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    broken = True

    def sometimes(request: Request) -> Answer:
        return (500, {}, b"{}") if broken else (200, {}, b'{"replica": "sick"}')

    sick, well = await upstream("sick", sometimes), await upstream("well")
    limits = Limits(failures=3, open_seconds=0.3, retries=0)
    await gateway.publish([shared(dataclasses.replace(share("default/churn", sick, well), limits=limits))])
    seen = await send(place, 80)
    assert seen["500"] == len(sick.seen) <= 3 + 8
    broken = False
    await _until_async(lambda: _answers(client, "sick"))


async def _answers(client: httpx2.AsyncClient, name: str) -> bool:
    return (await client.post(_URL, content=b"{}")).json().get("replica") == name


async def test_without_retries_a_refusal_is_passed_on(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    both = [await upstream("r1"), await upstream("r2")]
    both[0].draining = True
    await gateway.publish([shared(share("default/churn", *both), limits=Limits(retries=0))])
    assert (await send(place, 64)).keys() == {"503", "r2"}


async def _until(condition: Callable[[], bool]) -> None:
    async def reached() -> bool:
        return condition()

    await _until_async(reached)


async def _until_async(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)
